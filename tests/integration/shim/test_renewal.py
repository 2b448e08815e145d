"""Upgrade in place below the manager: zygote and shims go on as another installation's program."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hakobune.errors import HakoError
from hakobune.testing import bundle, installation, shims
from hakobune.version import VERSION

pytestmark = pytest.mark.root
Make = Callable[..., shims.Task]
NEXT = "9.9.9"


@pytest.fixture(scope="session")
def newer() -> Iterator[str]:
    """The interpreter of a newer installation."""
    with tempfile.TemporaryDirectory(prefix="hi-", dir="/tmp") as directory:
        yield str(installation.copy(Path(directory) / "next", NEXT))


@pytest.fixture
def own(place: Path, events: shims.Events) -> Iterator[shims.Zygote]:
    """A zygote for one test."""
    home = Path(tempfile.mkdtemp(prefix="own-", dir=place))
    with shims.Zygote(home, events=events.path, environment={"HAKOBUNE_REST_SECONDS": "0.2"}) as running:
        yield running


def running(zygote: shims.Zygote, lower: Path, *args: str) -> shims.Task:
    path = zygote.directory / f"b{os.path.basename(zygote.directory)}{len(zygote.tasks)}"
    task = zygote.task(bundle.make(path, lower, args))
    log = f"json-file://{task.bundle.path}/log"
    task.create(stdin="attach:", stdout=log, stderr=log)
    task.start()
    return task


def test_the_zygote_goes_on_as_the_new_program(own: shims.Zygote, lower: Path, newer: str) -> None:
    task = running(own, lower, "sh", "-c", "read x; exit 3")
    killed = running(own, lower, "sleep", "60")
    pid, protocol, release = own.ask("PING")
    assert (pid, release) == (str(own.process.pid), VERSION)
    assert own.ask("UPGRADE", newer) == [pid, protocol, NEXT]
    assert own.ask("PING") == [pid, protocol, NEXT]
    assert running(own, lower, "sh", "-c", "exit 4").wait().status == 4
    os.kill(shims.shim_of(killed.bundle), signal.SIGKILL)  # whoever it was that forked it, its end is seen
    end = time.monotonic() + shims.SECONDS
    while not (killed.bundle.path / "exit_status").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    task.close_io()
    assert task.wait().status == 3


def test_a_zygote_keeps_what_cannot_be_executed_out(own: shims.Zygote, lower: Path, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    for python, why in ((str(broken), "refuses"), ("/nowhere/python", "is no program"), ("python", "full path")):
        with pytest.raises(HakoError, match=why):
            own.ask("UPGRADE", python)
    assert own.ask("PING")[2] == VERSION
    assert running(own, lower, "true").wait().status == 0
