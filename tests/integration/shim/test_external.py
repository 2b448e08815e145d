"""Runtimes that are programs, behind our shim: whatever has runc's command line makes and changes the processes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import FailedPrecondition, HakoError, InvalidArgument, NotFound
from hakobune.task import runtimes
from hakobune.testing import shims
from hakobune.wire import pb, side

pytestmark = [pytest.mark.root, pytest.mark.slow]
Make = Callable[..., shims.Task]


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name)) if name == "hako-runtime" else shutil.which(name) or ""


@pytest.fixture(params=["runc", "hako-runtime"])
def make_by(make: Make, request: pytest.FixtureRequest) -> Make:
    """As `make`, with containers of a program."""
    program = _program(request.param)
    if not program:
        pytest.skip(f"peer not installed: {request.param}")

    def one(*args: str, **sections: object) -> shims.Task:
        task = make(*args, **sections)
        task.program = program
        return task

    return one


def _logged(path: Path) -> list[str]:
    return [json.loads(line)["log"] for line in path.read_text().splitlines()]


def _left(task: shims.Task) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"*{task.bundle.cgroup}"))


def test_from_create_to_delete(make_by: Make, place: Path) -> None:
    task = make_by("sh", "-c", "echo out; echo err >&2; exit 3")
    log = place / f"{task.bundle.id}.log"
    before = Path("/proc/self/mountinfo").read_text()
    pid = task.create(stdout=f"json-file://{log}", stderr=f"json-file://{log}")
    assert task.state() == "created"
    assert Path("/proc/self/mountinfo").read_text() == before
    waiting = task.send_wait()
    assert task.start() == pid
    done = task.answer_exit(waiting)
    assert (done.status, task.state()) == (3, "stopped")
    assert sorted(_logged(log)) == ["err\n", "out\n"]
    assert task.delete() == shims.Exit(3, done.at, pid)
    assert _left(task) == []
    assert not list((task.bundle.path / "state").glob("*"))


def test_exec_in_it(make_by: Make, place: Path) -> None:
    task = make_by("sleep", "60")
    task.create()
    task.start()
    log = place / f"{task.bundle.id}-exec.log"
    task.exec("e1", ["sh", "-c", "cat; echo $0-$X; exit 5"], stdin="", stdout=f"json-file://{log}",
              process={"env": ["PATH=/bin:/usr/bin", "X=y"]})  # fmt: skip
    pid = task.start("e1")
    assert task.wait("e1").status == 5
    assert _logged(log) == ["sh-y\n"]
    assert task.delete("e1").pid == pid
    task.exec("bad", ["nope"])
    with pytest.raises(InvalidArgument, match=r'^exec: "nope": executable file not found in \$PATH$'):
        task.start("bad")
    assert task.state() == "running"
    task.kill(signal.SIGKILL)
    assert task.wait().status == 137
    assert not list(task.bundle.path.glob("exec-*"))


def test_a_command_that_is_not_there(make_by: Make) -> None:
    task = make_by("nope")
    with pytest.raises(InvalidArgument, match=r'^exec: "nope": executable file not found in \$PATH$'):
        task.create()
    with pytest.raises(NotFound):
        task.state()
    assert _left(task) == []


def test_a_runtime_that_is_not_there(make: Make) -> None:
    task = make("true")
    task.program = "/no/such/runtime"
    with pytest.raises(NotFound, match="/no/such/runtime"):
        task.create()


def test_a_runtime_without_control_groups(make: Make, tmp_path: Path) -> None:
    """What is to be killed at the container's end is its group: ours must never be taken for it."""
    fake = tmp_path / "fake"
    fake.write_text(
        '#!/bin/sh\nfor word; do [ "$last" = --pid-file ] && file=$word; last=$word; done\n'
        'case " $* " in *" create "*) sleep 2 & printf %s $! >"$file" ;; esac\n'
    )
    fake.chmod(0o755)
    task = make("true")
    task.program = str(fake)
    with pytest.raises(FailedPrecondition, match="no control group of its own"):
        task.create()
    with pytest.raises(NotFound):
        task.state()


def test_a_terminal(make_by: Make) -> None:
    task = make_by("sh", "-c", "tty; stty size; read x; echo got $x", process={"terminal": True},
                   annotations={"io.hakobune.side": "/tmp/hz-side.s"})  # fmt: skip
    task.create(stdin="attach:", stdout="attach:", terminal=True)
    task.resize(91, 31)
    engine = shims.Side("/tmp/hz-side.s")
    client = engine.attach(side.STDIN | side.STDOUT)
    task.start()
    client.sendall(b"word\n")
    seen = b""
    while b"got word" not in seen:
        seen += client.recv(4096)
    assert b"/dev/pts/0" in seen or b"/dev/console" in seen
    assert b"31 91" in seen
    assert task.wait().status == 0
    client.close()
    engine.close()


def test_pause_update_and_all_the_pids(make_by: Make) -> None:
    task = make_by("sh", "-c", "sleep 60 & sleep 60")
    pid = task.create()
    task.start()
    while len(task.pids()) < 3:
        pass
    assert pid in task.pids()
    task.verb("Pause")
    assert task.state() == "paused"
    task.verb("Resume")
    task.update({"pids": {"limit": 77}})
    limit = next(Path("/sys/fs/cgroup").glob(f"pids{task.bundle.cgroup}/pids.max"), None)
    assert limit is not None
    assert limit.read_text() == "77\n"
    task.kill(signal.SIGKILL)
    assert task.wait().status == 137
    assert task.pids() == []


def test_it_goes_on_in_another_process(make_by: Make) -> None:
    """Rest and renewal know which runtime it was: an exec after it is made by the same program."""
    task = make_by("sleep", "60")
    task.create()
    task.start()
    task.rest()
    task.exec("e1", ["true"])
    task.start("e1")
    assert task.wait("e1").status == 0
    task.renew()
    task.exec("e2", ["sh", "-c", "exit 4"])
    task.start("e2")
    assert task.wait("e2").status == 4
    record = json.loads((task.bundle.path / "runtime").read_text())
    assert record[0] == task.program


def test_a_killed_shim_takes_its_container_along(make_by: Make) -> None:
    task = make_by("sleep", "60")
    pid = task.create()
    task.start()
    init = os.pidfd_open(pid)
    os.kill(task.shim, signal.SIGKILL)
    assert select.select([init], [], [], shims.SECONDS)[0]
    record = task.bundle.path / "exit_status"
    while not record.exists():
        pass
    assert record.read_text().startswith("137 ")
    os.close(init)
    assert list((task.bundle.path / "state").iterdir())
    assert (
        runtimes.after(task.bundle.id, str(task.bundle.path)) == ()
    )  # as a manager does, who then has its group go
    assert not list((task.bundle.path / "state").iterdir())
    with contextlib.suppress(HakoError, OSError):
        Cgroup.find(task.bundle.cgroup).remove_parents()


def test_options_of_others_say_nothing(make: Make) -> None:
    task = make("true")
    wrapped = pb.field(1, "example.test/Options") + pb.message(2, pb.field(6, "/no/such"))
    mounts = b"".join(pb.message(3, shims._mount(mount)) for mount in task.bundle.mounts)
    request = (
        pb.field(1, task.bundle.id) + pb.field(2, str(task.bundle.path)) + mounts + pb.message(10, wrapped)
    )
    assert task.answer_pid(task.rpc.send("Create", request))
