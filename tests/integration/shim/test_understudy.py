"""The understudy: a fork made ahead, and its worker. Whichever of them is killed, the next container is made."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hakobune.testing import bundle, shims

pytestmark = pytest.mark.root


@pytest.fixture
def own(place: Path, events: shims.Events) -> Iterator[shims.Zygote]:
    """A zygote for one test."""
    home = Path(tempfile.mkdtemp(prefix="own-", dir=place))
    with shims.Zygote(home, events=events.path) as running:
        yield running


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def understudy(zygote: shims.Zygote) -> int:
    """Its pid, once it waits; with its worker."""
    end = time.monotonic() + shims.SECONDS
    while time.monotonic() < end:
        taken = {task.shim for task in zygote.tasks}
        for pid in children(zygote.process.pid):
            if pid not in taken and len(children(pid)) == 1:
                return pid
        time.sleep(0.01)
    raise AssertionError("there is no understudy")


def a_life(zygote: shims.Zygote, lower: Path, name: str) -> shims.Task:
    task = zygote.task(bundle.make(zygote.directory / name, lower, ["sh", "-c", "exit 4"]))
    task.create()
    task.start()
    assert task.wait().status == 4
    task.delete()
    task.shutdown()
    assert shims.gone(task.shim)
    return task


def test_it_is_the_next_shim(own: shims.Zygote, lower: Path) -> None:
    for name in "abc":
        waiting = understudy(own)
        assert a_life(own, lower, name).shim == waiting


def test_it_is_killed(own: shims.Zygote, lower: Path) -> None:
    waiting = understudy(own)
    os.kill(waiting, signal.SIGKILL)
    assert shims.gone(waiting)
    assert a_life(own, lower, "a").shim != waiting
    assert a_life(own, lower, "b").shim


def test_its_worker_is_killed(own: shims.Zygote, lower: Path) -> None:
    waiting = understudy(own)
    (worker,) = children(waiting)
    os.kill(worker, signal.SIGKILL)
    assert a_life(own, lower, "a").shim == waiting


def test_one_that_never_plays_ends_with_the_zygote(own: shims.Zygote) -> None:
    waiting = understudy(own)
    (worker,) = children(waiting)
    own.process.kill()
    assert shims.gone(waiting)
    assert shims.gone(worker)


def test_a_retired_zygote_leaves_none(own: shims.Zygote) -> None:
    waiting = understudy(own)
    (worker,) = children(waiting)
    own.ask("RETIRE")
    own.process.wait(shims.SECONDS)
    assert not os.path.exists(f"/proc/{waiting}")
    assert not os.path.exists(f"/proc/{worker}")


def test_a_zygote_that_nobody_can_find_any_more_goes(own: shims.Zygote) -> None:
    """Its manager was killed, and then its socket was taken away: no other one will come."""
    waiting = understudy(own)
    own.disconnect()
    time.sleep(0.2)
    assert own.process.poll() is None  # a manager may come back
    (own.directory / "zygote.sock").unlink()
    own.process.wait(shims.SECONDS)
    assert not os.path.exists(f"/proc/{waiting}")
