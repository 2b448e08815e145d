"""config.json: everything wrong is named, nothing raw gets through."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakobune.errors import InvalidArgument
from hakobune.oci.config import Config, parse
from hakobune.oci.verbs.spec import default


def with_value(path: str, value: Any) -> dict[str, Any]:
    document = default()
    *heads, last = path.split(".")
    place: Any = document
    for head in heads:
        place = place[int(head)] if head.isdigit() else place[head]
    place[int(last) if last.isdigit() else last] = value
    return document


def test_the_default_spec() -> None:
    config = parse(default())
    assert config.process is not None
    assert (config.process.args, config.process.cwd, config.process.terminal) == (("sh",), "/", True)
    assert config.new("pid")
    assert not config.new("user")
    assert config.mounts[0].target == "/proc"
    assert config.root_readonly


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("ociVersion", "2.0.0", r"ociVersion: '2.0.0' is not a 1.x"),
        ("ociVersion", 1, "ociVersion: expected a string"),
        ("root", {}, "root.path"),
        ("process.args", [], "process.args: must name a program"),
        ("process.args", ["a\0b"], r"process.args\[0\]"),
        ("process.args", "sh", "process.args: expected a list"),
        ("process.cwd", "x", "process.cwd: 'x' is not an absolute path"),
        ("process.user", {"uid": -1}, "process.user.uid: -1 is outside"),
        ("process.user", {"uid": 2**32 - 1}, "process.user.uid"),
        ("process.user", {"gid": True}, "process.user.gid: expected a number"),
        ("process.user", {"additionalGids": [1, "x"]}, "process.user.additionalGids.1: expected a number"),
        ("process.consoleSize", {"height": "x"}, "process.consoleSize.height"),
        ("process.consoleSize", {"height": 1 << 16}, "not a terminal's size"),
        ("annotations", {"a": 1}, "annotations.a: expected a string"),
        ("process.rlimits.0.type", "NOFILE", r"process.rlimits\[0\].type"),
        ("process.terminal", "yes", "process.terminal: expected true or false"),
        ("mounts.0.destination", "", r"mounts\[0\].destination"),
        ("mounts.1", "x", r"mounts\[1\]: expected an object"),
        ("linux.namespaces.0.type", "pids", r"linux.namespaces\[0\].type: 'pids'"),
        ("linux.namespaces.1.type", "pid", "'pid' is given twice"),
        ("linux.devices", [{"type": "x", "path": "/dev/x"}], r"linux.devices\[0\].type"),
        ("linux.devices", [{"type": "c", "path": "x"}], r"linux.devices\[0\].path"),
        ("linux.sysctl", {"a/b": "1"}, "linux.sysctl: 'a/b'"),
        ("linux.sysctl", {"a.b": "1\n2"}, "linux.sysctl.a.b"),
        ("linux.maskedPaths", [1], r"linux.maskedPaths\[0\]"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: Any, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        parse(with_value(path, value))


def test_small_print() -> None:
    config = parse(with_value("mounts.0.destination", "proc"))
    assert config.mounts[0].target == "/proc"
    config = parse(
        with_value(
            "linux.devices", [{"type": "c", "path": "/dev/x", "major": 1, "minor": 0, "fileMode": 0o100600}]
        )
    )
    assert config.devices[0].mode == 0o600
    assert parse({"ociVersion": "1.0.0", "root": {"path": "/r"}}).process is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.data(), JSON)
def test_noise_in_one_place(data: st.DataObject, noise: Any) -> None:
    """Whatever stands in one field: a Config or InvalidArgument, never another exception."""
    document = copy.deepcopy(default())
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = noise
        break
    try:
        assert isinstance(parse(document), Config)
    except InvalidArgument:
        pass
