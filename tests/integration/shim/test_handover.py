"""Who dies in the middle of a hand-over: afterwards there is a living shim, or a container that has ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hakobune.cgroups.cgroup import Cgroup
from hakobune.linux import pidfd
from hakobune.testing import bundle, shims

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not pidfd.remembers_exits(), reason="the kernel does not tell the status of what others have reaped"
    ),
]
Make = Callable[..., shims.Task]


@pytest.fixture(scope="module")
def armory(place: Path) -> Path:
    """A file in it is a step at which one process dies."""
    path = place / "armory"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def zygote(place: Path, armory: Path, events: shims.Events) -> Iterator[shims.Zygote]:
    environment = {"HAKOBUNE_REST_SECONDS": "0.2", "HAKOBUNE_FAILPOINT": str(armory)}
    with shims.Zygote(place, events=events.path, environment=environment) as running:
        yield running


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + shims.SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def started(task: shims.Task) -> int:
    pid = task.create()
    task.start()
    return pid


@pytest.mark.parametrize("point", ["shim.move.offered", "shim.move.taken", "shim.move.woken"])
def test_the_container_ends_with_its_shim(make: Make, armory: Path, point: str) -> None:
    task = make("sh", "-c", "sleep 60 & sleep 61")
    pid = started(task)
    (armory / point).touch()
    until(lambda: not (armory / point).exists() or point.endswith("woken"), f"{point} is not reached")
    if point.endswith("woken"):
        task.rest()
        with pytest.raises((OSError, EOFError)):
            task.state()
    assert shims.gone(pid)
    record = task.bundle.path / "exit_status"
    until(record.exists, "nobody writes the end down")
    assert record.read_text().startswith("137 ")
    group = Cgroup.find((task.bundle.path / "cgroup").read_text())
    assert group.wait_empty(5)
    group.delete(remove_empty_parents=True)
    until(lambda: not has_shim(task.bundle), "a process of the shim is left")


def has_shim(made: bundle.Bundle) -> bool:
    try:
        return bool(shims.shim_of(made))
    except ProcessLookupError:
        return False


def test_a_shim_that_has_said_go_may_be_killed(make: Make, armory: Path) -> None:
    task = make("sh", "-c", "read x; exit 7")
    task.create(stdin="attach:")
    task.start()
    (armory / "shim.move.left").touch()
    task.rest()
    assert task.state() == "running"
    task.rest()  # and goes over again
    task.close_io()
    assert task.wait().status == 7


def test_a_zygote_that_dies_leaves_both(lower: Path, place: Path, armory: Path) -> None:
    home = place / "dies"
    home.mkdir()
    environment = {"HAKOBUNE_REST_SECONDS": "0.2", "HAKOBUNE_FAILPOINT": str(armory)}
    with shims.Zygote(home, environment=environment) as zygote:
        task = zygote.task(bundle.make(home / "b", lower, ["sh", "-c", "read x; exit 7"]))
        task.create(stdin="attach:")
        task.start()
        (armory / "zygote.adopt.forked").touch()
        zygote.process.wait()
        assert task.state() == "running"
        task.close_io()
        assert task.wait().status == 7
        task.delete()
        task.shim = shims.shim_of(task.bundle)
    assert os.listdir(armory) == []
