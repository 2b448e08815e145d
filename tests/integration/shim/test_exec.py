"""More processes in a running container: their streams, ends and errors."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hakobune.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from hakobune.oci import capabilities
from hakobune.oci.init import kept
from hakobune.testing import shims

pytestmark = pytest.mark.root
Make = Callable[..., shims.Task]


@pytest.fixture(params=["spawned", "cloned"])
def running(make: Make, request: pytest.FixtureRequest) -> shims.Task:
    """Both ways of an exec: who could trace it in the container does not get one that shares its worker's memory."""
    tracer = (*capabilities.DEFAULT, "CAP_SYS_PTRACE") if request.param == "cloned" else capabilities.DEFAULT
    sets = dict.fromkeys(("bounding", "effective", "permitted"), tracer)
    task = make("sleep", "60", process={"capabilities": sets})
    task.create()
    task.start()
    return task


def logged(path: Path) -> str:
    return "".join(json.loads(line)["log"] for line in path.read_text().splitlines())


def test_exec_runs_inside(running: shims.Task) -> None:
    log = running.bundle.path / "exec.log"
    running.exec(
        "e1",
        ["sh", "-c", "echo $$ $(hostname) $(pwd) $X; cat /proc/self/cgroup; exit 5"],
        stdout=f"json-file://{log}",
        process={"cwd": "/tmp", "env": ["PATH=/bin:/usr/bin", "X=y"]},
    )
    assert running.state("e1") == "unknown"
    pid = running.start("e1")
    assert running.wait("e1").status == 5
    first, *rest = logged(log).splitlines()
    assert first.split()[1:] == ["hakobune", "/tmp", "y"]
    assert all(line.endswith(":/") for line in rest)
    assert running.delete("e1").pid == pid
    with pytest.raises(NotFound):
        running.state("e1")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["nope"], r'exec: "nope": executable file not found in \$PATH'),
        (["/no/such"], 'exec: "/no/such": stat /no/such: no such file or directory'),
        (["/etc"], 'exec: "/etc": is a directory'),
    ],
)
def test_exec_of_nothing(running: shims.Task, args: list[str], text: str) -> None:
    running.exec("bad", args)
    with pytest.raises(InvalidArgument, match=text):
        running.start("bad")
    with pytest.raises(NotFound):
        running.state("bad")
    assert running.state() == "running"
    running.exec("bad", ["true"])
    running.start("bad")
    assert running.wait("bad").status == 0


def test_exec_needs_a_running_container(make: Make) -> None:
    task = make("true")
    with pytest.raises(NotFound):
        task.exec("e", ["true"])
    task.create()
    task.exec("early", ["true"])
    with pytest.raises(FailedPrecondition, match="is created, not running"):
        task.start("early")
    task.start()
    task.wait()
    with pytest.raises(FailedPrecondition, match="is stopped, not running"):
        task.exec("late", ["true"])
    task.delete("early")
    assert task.delete().status == 0


def test_exec_twice_and_unknown(running: shims.Task) -> None:
    running.exec("e", ["true"])
    with pytest.raises(AlreadyExists):
        running.exec("e", ["true"])
    running.start("e")
    running.wait("e")
    with pytest.raises(FailedPrecondition, match="cannot start a stopped exec process"):
        running.start("e")
    for verb in (running.start, running.delete, running.state, running.wait):
        with pytest.raises(NotFound):
            verb("unknown")


def test_who_may_spawn(make: Make) -> None:
    plain = {name: list(capabilities.DEFAULT) for name in ("bounding", "effective", "permitted")}
    tracer = {name: [*sets, "CAP_SYS_PTRACE"] for name, sets in plain.items()}
    for sets, spawnable in ((plain, True), (tracer, False)):
        task = make("sleep", "60", process={"capabilities": sets})
        task.create()
        found = kept.read(f"{task.bundle.path}/filter")
        assert found is not None
        assert found.spawnable is spawnable


def test_an_exec_that_is_never_started_leaves_nothing(running: shims.Task) -> None:
    running.exec("never", ["true"])
    running.delete("never")
    running.exec("late", ["sh", "-c", "exit 6"])
    running.exec("waiting", ["true"])
    running.start("late")
    assert running.wait("late").status == 6
    running.kill()
    running.wait()
    running.delete("waiting")
    running.delete("late")
    assert running.delete().status == 137
    assert shims.children(running.shim) == []


def run_one(task: shims.Task, name: str) -> int:
    task.exec(name, ["sh", "-c", "exit 5"])
    task.start(name)
    status = task.wait(name).status
    task.delete(name)
    return status


def spares(task: shims.Task, init: int) -> list[int]:
    children = Path(f"/proc/{task.shim}/task/{task.shim}/children").read_text().split()
    return [int(pid) for pid in children if int(pid) != init]


def test_a_series_has_its_workers_forked_ahead(running: shims.Task) -> None:
    (init,) = running.pids()
    assert [run_one(running, f"e{number}") for number in range(2)] == [5, 5]
    time.sleep(0.2)
    (spare,) = spares(running, init)
    assert running.pids() == [init]  # it is none of the container's
    assert run_one(running, "next") == 5
    assert shims.gone(spare)
    time.sleep(0.2)
    (spare,) = spares(running, init)
    os.kill(spare, signal.SIGKILL)
    assert shims.gone(spare)
    assert run_one(running, "own") == 5
    time.sleep(0.2)
    (spare,) = spares(running, init)
    running.kill()
    assert running.wait().status == 137
    assert shims.gone(spare)


def test_a_spare_worker_goes_before_its_shim_is_replaced(running: shims.Task) -> None:
    (init,) = running.pids()
    assert [run_one(running, f"e{number}") for number in range(2)] == [5, 5]
    time.sleep(0.2)
    (spare,) = spares(running, init)
    running.renew()
    assert shims.gone(spare)
    assert [run_one(running, f"late{number}") for number in range(3)] == [5, 5, 5]


def test_exec_killed_alone(running: shims.Task) -> None:
    running.exec("e", ["sleep", "60"])
    running.start("e")
    waiting = running.send_wait("e")
    running.kill(exec_id="e")
    assert running.answer_exit(waiting).status == 137
    assert running.state() == "running"


def test_many_execs_at_once(running: shims.Task) -> None:
    names = [f"e{number}" for number in range(30)]
    for number, name in enumerate(names):
        running.exec(name, ["sh", "-c", f"exit {number}"])
    starts = [running.send_start(name) for name in names]
    waits = [running.send_wait(name) for name in names]
    assert all(running.answer_pid(stream) > 0 for stream in starts)
    assert [running.answer_exit(stream).status for stream in waits] == list(range(30))
    for name in names:
        running.delete(name)
    assert len(running.pids()) == 1


def test_a_stopped_exec_outlives_init(make: Make) -> None:
    task = make("sleep", "60")
    task.create()
    task.start()
    task.exec("e", ["sh", "-c", "exit 4"])
    task.start("e")
    task.wait("e")
    task.kill()
    task.wait()
    assert task.delete("e").status == 4
    task.delete()


def test_exec_of_another_user_and_limits(running: shims.Task) -> None:
    log = running.bundle.path / "user.log"
    user = {"uid": 1000, "gid": 1001, "additionalGids": [7]}
    limits = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 77}]
    running.exec("u", ["sh", "-c", "id; ulimit -n; echo x > /dev/stdout"], stdout=f"json-file://{log}",
                 process={"user": user, "rlimits": limits})  # fmt: skip
    running.start("u")
    assert running.wait("u").status == 0
    text = logged(log)
    assert "uid=1000" in text
    assert "gid=1001" in text
    assert text.endswith("77\nx\n")


def test_a_size_that_was_asked_for_before_the_terminal(running: shims.Task) -> None:
    log = running.bundle.path / "size.log"
    process = {"consoleSize": {"height": 24, "width": 80}}
    running.exec("sized", ["stty", "size"], stdout=f"json-file://{log}", terminal=True, process=process)
    running.resize(132, 43, "sized")
    with pytest.raises(InvalidArgument, match="no size of a terminal"):
        running.resize(70000, 43, "sized")
    running.start("sized")
    assert running.wait("sized").status == 0
    assert logged(log) == "43 132\r\n"


def test_a_size_between_create_and_start(make: Make, place: Path) -> None:
    log = place / "init-size.log"
    task = make("stty", "size", process={"terminal": True})
    task.create(stdin="attach:", stdout=f"json-file://{log}", terminal=True)
    task.resize(99, 33)
    task.start()
    assert task.wait().status == 0
    assert logged(log) == "33 99\r\n"
