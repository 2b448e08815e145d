"""The data root's disk is full: what runs goes on, ends are right, stop and rm work, and a new engine comes up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.chaos.conftest import STARTER, Stage, small_disk

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def tight(peer: Callable[[str], Path]) -> Iterator[Stage]:
    """An engine on a small file system of its own, exec root and log included."""
    with small_disk(str(peer("docker"))) as stage:
        yield stage


def fill(disk: Path) -> list[Path]:
    """Files that leave no room at all."""
    made = []
    for number, size in enumerate((1 << 20, 4096, 4096)):
        made.append(disk / f"fill{number}")
        with made[-1].open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    return made


def test_a_full_disk(tight: Stage) -> None:
    ends = ("/bin/sh", "-c", "sleep 3; echo end; exit 4")
    tight.ok("create", "--name", "waiting", STARTER, *ends)
    tight.ok("run", "-d", "--name", "ending", STARTER, *ends)
    tight.ok("run", "-d", "--rm", "--name", "passing", STARTER, *ends)
    tight.ok(
        "run", "-d", "--name", "telling", STARTER, "/bin/sh", "-c", "while :; do echo y; sleep 0.05; done"
    )
    filled = fill(tight.engine.root.parent)
    refused = tight.docker("start", "waiting")
    assert refused.returncode == 1
    assert "space left on device" in refused.stderr
    assert tight.docker("exec", "ending", "/bin/echo", "x").stdout == "x\n"
    tight.until("ending", "exited 4")
    tight.until("passing", "")
    tight.ok("stop", "-t", "0", "telling")
    tight.audit.note()
    tight.ok("rm", "ending", "telling")
    tight.engine.kill()
    tight.engine.start()
    assert tight.state("waiting").startswith("created")
    for path in filled:
        path.unlink()
    time.sleep(1.2)  # what could not be recorded then is now
    assert tight.docker("start", "-a", "waiting").stdout == "end\n"
    tight.clear()
