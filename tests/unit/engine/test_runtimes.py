"""Names of runtimes: what the manager is told, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hakobune.engine.runtimes import OWN, Runtimes, declaration, from_flag
from hakobune.errors import InvalidArgument
from hakobune.wire import pb


def known(tmp_path: Path, default: str = "hako", **declared: dict[str, Any]) -> Runtimes:
    checked = {name: declaration(name, one) for name, one in declared.items()}
    return Runtimes(checked, default, str(tmp_path))


def binary(options: bytes) -> str:
    return pb.text(pb.decode(options), 6)


def test_the_default_is_built_in(tmp_path: Path) -> None:
    found = known(tmp_path)
    assert (found.of("").shim, found.of("").options, found.of("").own) == (OWN, b"", True)
    assert found.name_of("") == "hako"
    assert "hako" in found.shown()


def test_a_program_goes_behind_our_shim(tmp_path: Path) -> None:
    found = known(tmp_path, default="mine", mine={"path": "/opt/mine"})
    assert (found.of("").shim, binary(found.of("mine").options)) == (OWN, "/opt/mine")
    assert found.name_of("") == "mine"
    assert found.shown()["mine"] == {"path": "/opt/mine"}


def test_arguments_go_into_a_script(tmp_path: Path) -> None:
    found = known(tmp_path, mine={"path": "/opt/my runtime", "runtimeArgs": ["--debug", "a b"]})
    script = Path(binary(found.of("mine").options))
    assert script.read_text() == "#!/bin/sh\nexec '/opt/my runtime' --debug 'a b' \"$@\"\n"
    assert script.stat().st_mode & 0o777 == 0o700


def test_a_shim_of_others(tmp_path: Path) -> None:
    options = {"BinaryName": "/opt/crun", "SystemdCgroup": True}
    found = known(tmp_path, mine={"runtimeType": "io.containerd.runc.v2", "options": options})
    kind = found.of("mine")
    assert (kind.shim, kind.own, binary(kind.options)) == ("io.containerd.runc.v2", False, "/opt/crun")
    assert pb.number(pb.decode(kind.options), 9) == 1
    assert found.of("io.containerd.kata.v2").shim == "io.containerd.kata.v2"
    assert found.of("/opt/containerd-shim-x-v1").own is False


@pytest.mark.parametrize("name", ["nope", "io.containerd.", "io.containerd.x", "rel/path"])
def test_unknown(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"unknown or invalid runtime name: {name}"):
        known(tmp_path).of(name)


def test_an_unknown_default(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="unknown or invalid runtime name: nope"):
        known(tmp_path, default="nope")


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("x", 7, "an object is needed"),
        ("hako", {"path": "/x"}, "this name is taken"),
        ("io.containerd.x.v1", {"path": "/x"}, "this name is taken"),
        ("../x", {"path": "/x"}, "a name has letters"),
        ("x", {}, "either path or runtimeType"),
        ("x", {"path": "/x", "runtimeType": "y"}, "either path or runtimeType"),
        ("x", {"path": 7}, "has the wrong type"),
        ("x", {"paht": "/x"}, "paht is unknown"),
        ("x", {"runtimeType": "y", "runtimeArgs": ["a"]}, "runtimeArgs go with a path"),
        ("x", {"path": "/x", "options": {"Root": "/r"}}, "options go with a runtimeType"),
        ("x", {"runtimeType": "y", "options": {"Nope": 1}}, "options.Nope is unknown"),
        ("x", {"runtimeType": "y", "options": {"Root": 1}}, "options.Root: 1 has the wrong type"),
    ],
)
def test_refused(name: str, given: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        declaration(name, given)


def test_the_flag() -> None:
    assert from_flag("mine=/opt/x=y") == ("mine", {"path": "/opt/x=y"})
    for text in ("mine", "=x", "mine="):
        with pytest.raises(InvalidArgument, match="NAME=PATH"):
            from_flag(text)
