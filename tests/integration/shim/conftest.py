"""Fixtures of the shim's tests: a root file system, a zygote, events, and the look for leftovers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hakobune.testing import bundle, shims


@pytest.fixture(scope="session")
def lower() -> Iterator[Path]:
    """The starter's files, the lower layer of every bundle."""
    top = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
    yield bundle.unpack_starter(top / "root")
    shutil.rmtree(top)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A short directory for sockets; a module's zygote works in it."""
    path = Path(tempfile.mkdtemp(prefix="hz-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def events(place: Path) -> Iterator[shims.Events]:
    """The manager's event service of the module's shims."""
    service = shims.Events(str(place / "events.sock"))
    yield service
    service.close()


@pytest.fixture(scope="module")
def zygote(place: Path, events: shims.Events) -> Iterator[shims.Zygote]:
    """One zygote for a module."""
    with shims.Zygote(place, events=events.path) as running:
        yield running
    assert not leftovers(), "the module left something behind"


@pytest.fixture
def make(
    zygote: shims.Zygote, lower: Path, place: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., shims.Task]]:
    """`make("sh", "-c", …, process={…}, resources={…})`: a task with a shim of its own, ended after the test."""
    made: list[shims.Task] = []

    def one(*args: str, **sections: Any) -> shims.Task:
        name = f"b{len(list(place.glob('b*')))}"
        task = zygote.task(bundle.make(place / name, lower, args, **sections))
        made.append(task)
        return task

    yield one
    for task in made:
        task.end()
        zygote.tasks.remove(task)
    assert not leftovers(), "the test left something behind"


def leftovers() -> list[str]:
    """Control groups of this test run, and mounts of its bundles."""
    found = []
    for top, directories, _ in os.walk("/sys/fs/cgroup"):
        found += [f"{top}/{name}" for name in directories if name == f"hakotest-{os.getpid()}"]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return found + [line for line in mounts if " /tmp/hz-" in line]
