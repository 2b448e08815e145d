"""Fail points by their variables: nothing without them, the n-th time by name, once by a file, and slow disks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from hakobune.failpoint import reach, slow
import time
for number in range(3):
    reach("a.b.c")
    print(number, flush=True)
before = time.monotonic()
slow()
print(time.monotonic() - before >= 0.2)
"""


def run(**variables: str) -> tuple[int, list[str]]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HAKOBUNE_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=clean | variables, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.split()


def test_nothing_without_a_variable() -> None:
    assert run() == (0, ["0", "1", "2", "False"])


@pytest.mark.parametrize(("name", "before"), [("a.b.c", []), ("a.b.c:1", []), ("a.b.c:3", ["0", "1"])])
def test_the_nth_time(name: str, before: list[str]) -> None:
    assert run(HAKOBUNE_FAILPOINT=name) == (-signal.SIGKILL, before)


def test_another_name_and_too_few_times() -> None:
    for name in ("a.b", "a.b.c:4"):
        assert run(HAKOBUNE_FAILPOINT=name)[0] == 0


def test_a_file_arms_it_for_one_process(tmp_path: Path) -> None:
    (tmp_path / "a.b.c").touch()
    assert run(HAKOBUNE_FAILPOINT=str(tmp_path)) == (-signal.SIGKILL, [])
    assert run(HAKOBUNE_FAILPOINT=str(tmp_path)) == (0, ["0", "1", "2", "False"])


def test_a_slow_disk(tmp_path: Path) -> None:
    assert run(HAKOBUNE_SLOW_FSYNC="0.2")[1][-1] == "True"
    (tmp_path / "slow-fsync").write_text("0.2")
    assert run(HAKOBUNE_FAILPOINT=str(tmp_path))[1][-1] == "True"
