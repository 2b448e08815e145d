"""The command line of hako-runtime: what flags mean, and what is refused."""

from __future__ import annotations

import pytest

from hakobune.errors import InvalidArgument
from hakobune.oci.verbs import kill, spec, table
from hakobune.oci.verbs.arguments import VALUE, parse


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("64", 64),
        ("64b", 64),
        ("2k", 2048),
        ("2K", 2048),
        ("3MiB", 3 << 20),
        ("3mb", 3 << 20),
        ("1g", 1 << 30),
        ("-1", -1),
        ("", None),
    ],
)
def test_bytes(text: str, wanted: int | None) -> None:
    assert parse(["--it", text], {"it": VALUE}, {}).size("it") == wanted


@pytest.mark.parametrize("text", ["m", "1.5m", "1x", "--1", "k1"])
def test_no_bytes(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a number of bytes"):
        parse(["--it", text], {"it": VALUE}, {}).size("it")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("5s", 5.0), ("500ms", 0.5), ("1m30s", 90.0), ("2", 2.0), ("1h", 3600.0), ("", 7.0), ("0.5s", 0.5)],
)
def test_durations(text: str, wanted: float) -> None:
    assert parse(["--it", text], {"it": VALUE}, {}).seconds("it", 7.0) == pytest.approx(wanted)


@pytest.mark.parametrize("text", ["s", "5x", "1 s", "5 5", "-1s", "1.2.3s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a duration"):
        parse(["--it", text], {"it": VALUE}, {}).seconds("it", 7.0)


def test_operands_too_many() -> None:
    verb = table.VERBS["state"]
    with pytest.raises(InvalidArgument, match=r"^state: at most 1 "):
        table.check("state", verb, parse(["a", "b"], verb.flags, verb.short, interspersed=verb.free))


def test_every_verb_says_its_flags() -> None:
    for name, verb in table.VERBS.items():
        assert name in table.usage()
        assert all(f"--{flag}" in table.usage(name) for flag in verb.flags)


@pytest.mark.parametrize(
    ("text", "number"), [("9", 9), ("KILL", 9), ("SIGKILL", 9), ("sigterm", 15), ("RTMIN+3", 37)]
)
def test_signals(text: str, number: int) -> None:
    assert kill.signal_number(text) == number


def test_no_signal() -> None:
    with pytest.raises(InvalidArgument, match="unknown signal 'FOO'"):
        kill.signal_number("FOO")


def test_a_bundle_for_a_user_without_privileges() -> None:
    document = spec.rootless(spec.default())
    kinds = {one["type"] for one in document["linux"]["namespaces"]}
    assert ("user" in kinds, "network" in kinds, "resources" in document["linux"]) == (True, False, False)
    assert document["linux"]["uidMappings"][0]["size"] == 1
    assert not any(
        word.startswith("gid=") for mount in document["mounts"] for word in mount.get("options", ())
    )
