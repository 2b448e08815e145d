"""state, list, ps and events: every field that runc has, ours have too."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hakobune.testing.hand import Runtime

pytestmark = pytest.mark.root


def fields(value: Any, at: str = "") -> set[str]:
    """Every field by its path; those of counters that come and go with the kernel's (`raw`) are one."""
    if isinstance(value, dict) and not at.endswith(".raw"):
        return {at} | {one for key, inner in value.items() for one in fields(inner, f"{at}.{key}")}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {at} | fields(value[0], f"{at}[]")
    return {at}


@pytest.fixture
def both(hako: Runtime) -> Iterator[tuple[Runtime, list[str]]]:
    """Ours, and runc's command line; a container `one` on each, of the same bundle."""
    if not (runc := shutil.which("runc")):
        pytest.skip("peer not installed: runc")
    peer = [runc, "--root", str(hako.place / "runc")]
    path = hako.bundle("sleep", "600", annotations={"a": "b"})
    hako.ids.append("one")
    hako("run", "-d", "--bundle", path, "one", stdout=subprocess.DEVNULL)
    document = json.loads(Path(path, "config.json").read_text())
    document["linux"]["cgroupsPath"] += "-runc"
    Path(path, "config.json").write_text(json.dumps(document))
    subprocess.run([*peer, "run", "-d", "--bundle", path, "one"], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    yield hako, peer
    subprocess.run([*peer, "delete", "--force", "one"], check=True)


def told(peer: list[str], *words: str) -> str:
    return subprocess.run([*peer, *words], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "words",
    [("state", "one"), ("list", "-f", "json"), ("ps", "-f", "json", "one"), ("events", "--stats", "one")],
)
def test_the_same_fields(both: tuple[Runtime, list[str]], words: tuple[str, ...]) -> None:
    hako, peer = both
    theirs, ours = json.loads(told(peer, *words)), json.loads(hako(*words).stdout)
    assert fields(theirs) <= fields(ours)
    assert type(theirs) is type(ours)


def test_the_same_tables(both: tuple[Runtime, list[str]]) -> None:
    hako, peer = both
    for words in (("list",), ("ps", "one"), ("list", "-q")):
        theirs, ours = told(peer, *words).splitlines(), hako(*words).stdout.splitlines()
        assert theirs[0].split() == ours[0].split()
        assert [len(line.split()) for line in theirs] == [len(line.split()) for line in ours]
