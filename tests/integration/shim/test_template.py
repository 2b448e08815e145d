"""The template that forks shims, and the pages that shims give back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hakobune.cgroups.cgroup import Cgroup
from hakobune.testing import bundle, shims

pytestmark = pytest.mark.root
Make = Callable[..., shims.Task]


def template_of(zygote: int) -> int:
    """The zygote's child of that name; 0 when there is none."""
    for pid in Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split():
        if Path(f"/proc/{pid}/comm").read_text() == "hako-template\n":
            return int(pid)
    return 0


def own(pid: int) -> int:
    """KiB that no file backs."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1])
    return 0


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_shims_are_the_zygotes_children(make: Make, zygote: shims.Zygote) -> None:
    assert parent_of(make("true").shim) == zygote.process.pid


def test_a_killed_template_is_replaced(make: Make, zygote: shims.Zygote) -> None:
    old = make("sh", "-c", "sleep 0.5; exit 4")
    old.create()
    old.start()
    for _ in range(2):
        template = template_of(zygote.process.pid)
        os.kill(template, signal.SIGKILL)
        new = make("sh", "-c", "exit 3")
        assert template_of(zygote.process.pid) not in (0, template)
        assert parent_of(new.shim) == zygote.process.pid
        new.create()
        new.start()
        assert new.wait().status == 3
        new.delete()
    assert old.wait().status == 4
    old.delete()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_template_ends_with_its_zygote(place: Path, end: int) -> None:
    home = place / f"end{end}"
    home.mkdir()
    with shims.Zygote(home) as zygote:
        template = template_of(zygote.process.pid)
        zygote.process.send_signal(end)
        assert shims.gone(template)
        zygote.process.wait(10)


def test_a_rested_shim_is_smaller_and_does_its_work(make: Make, place: Path) -> None:
    log = place / "rested.log"
    uri = f"json-file://{log}"
    task = make("sleep", "60")
    pid = task.create(stdin="", stdout=uri, stderr=uri)
    task.start()
    waiting = task.send_wait()
    busy = own(task.shim)
    for _ in range(200):
        if own(task.shim) < busy * 0.85:
            break
        time.sleep(0.05)
    else:
        pytest.skip(f"{busy} KiB stay: the kernel gives nothing back here")
    for n in range(5):
        task.exec(f"e{n}", ["sh", "-c", f"echo exec {n}; exit {n}"], stdout=uri, stderr=uri)
        task.start(f"e{n}")
        assert task.wait(f"e{n}").status == n
        task.delete(f"e{n}")
        time.sleep(0.6)  # so that pages go in between, too
    assert task.pids() == [pid]
    task.kill(signal.SIGKILL)
    assert task.answer_exit(waiting).status == 137
    assert [f"exec {n}" in log.read_text() for n in range(5)] == [True] * 5
    assert task.delete().status == 137


def test_a_rested_shim_that_is_killed_takes_its_container_along(make: Make) -> None:
    task = make("sleep", "60")
    pid = task.create()
    task.start()
    time.sleep(2.5)
    os.kill(task.shim, signal.SIGKILL)
    assert shims.gone(pid)
    end = time.monotonic() + 10
    while not (task.bundle.path / "exit_status").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert (task.bundle.path / "exit_status").read_text().startswith("137 ")
    Cgroup.find((task.bundle.path / "cgroup").read_text()).delete(remove_empty_parents=True)


def test_many_at_once_rest_and_end(zygote: shims.Zygote, lower: Path, place: Path) -> None:
    tasks = [
        zygote.task(bundle.make(place / f"many{n}", lower, ["sh", "-c", f"sleep 2; exit {n}"]))
        for n in range(8)
    ]
    for task in tasks:
        task.create()
        task.start()
    for n, task in enumerate(tasks):
        assert task.wait().status == n
        task.end()
        zygote.tasks.remove(task)
