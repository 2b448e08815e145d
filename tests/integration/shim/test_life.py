"""The life of a task: created, started, waited for, killed, deleted; and what a failure leaves: nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from hakobune.errors import (
    AlreadyExists,
    FailedPrecondition,
    HakoError,
    InvalidArgument,
    NotFound,
)
from hakobune.testing import shims

pytestmark = pytest.mark.root
Make = Callable[..., shims.Task]


def groups(task: shims.Task) -> list[str]:
    base = Path("/sys/fs/cgroup")
    return [str(p) for p in base.glob(f"*{task.bundle.cgroup}")]


def test_from_create_to_delete(make: Make, place: Path) -> None:
    task = make("sh", "-c", "echo out; echo err >&2; exit 3")
    log = place / "life.log"
    pid = task.create(stdout=f"json-file://{log}", stderr=f"json-file://{log}")
    assert task.state() == "created"
    assert task.pids() == [pid]
    waiting = task.send_wait()
    assert task.start() == pid
    done = task.answer_exit(waiting)
    assert (done.status, task.state()) == (3, "stopped")
    assert (task.bundle.path / "exit_status").read_text() == f"3 {done.at}"
    assert sorted(line.split('"')[3] for line in log.read_text().splitlines()) == ["err\\n", "out\\n"]
    assert task.delete() == shims.Exit(3, done.at, pid)
    assert groups(task) == []
    task.shutdown()
    assert shims.gone(task.shim)
    assert not os.path.exists(task.socket_path)


def test_events_in_order(make: Make, events: shims.Events) -> None:
    task = make("true")
    before = len(events.got)
    task.create()
    task.start()
    task.wait()
    task.delete()
    assert events.topics("/tasks/delete")[before:][:1] == ["/tasks/create"]
    own = [topic for topic, fields in events.got if fields.get(1) == [task.bundle.id.encode()]]
    while "/tasks/delete" not in own:
        own = [topic for topic, fields in events.got if fields.get(1) == [task.bundle.id.encode()]]
    assert own == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, 137), (signal.SIGTERM, 143)])
def test_kill(make: Make, number: int, status: int) -> None:
    task = make("sh", "-c", "trap 'exit 143' TERM; while :; do sleep 0.05; done")
    task.create()
    task.start()
    task.exec("ready", ["sleep", "0.1"])  # the trap stands by the time this has ended
    task.start("ready")
    task.wait("ready")
    waiting = task.send_wait()
    task.kill(number)
    assert task.answer_exit(waiting).status == status
    with pytest.raises(NotFound, match="process already finished"):
        task.kill()
    assert task.delete().status == status


def test_kill_before_start(make: Make) -> None:
    task = make("true")
    task.create()
    waiting = task.send_wait()
    task.kill()
    assert task.answer_exit(waiting).status == 137
    with pytest.raises(FailedPrecondition, match="cannot start a stopped container"):
        task.start()
    assert task.delete().status == 137


def test_delete_only_when_stopped(make: Make) -> None:
    task = make("sleep", "60")
    with pytest.raises(NotFound):
        task.delete()
    task.create()
    with pytest.raises(FailedPrecondition, match="cannot delete a created container"):
        task.delete()
    task.start()
    with pytest.raises(FailedPrecondition, match="cannot delete a running container"):
        task.delete()
    with pytest.raises(AlreadyExists):
        task.create()
    with pytest.raises(FailedPrecondition):
        task.start()


def test_the_end_of_init_is_everybodys(make: Make) -> None:
    task = make("sh", "-c", "sleep 61 & setsid sleep 62 & exec sleep 63")
    task.create()
    task.start()
    task.exec("e", ["sleep", "64"])
    pid = task.start("e")
    inside, waiting = task.send_wait("e"), task.send_wait()
    orphans = task.pids()
    task.kill()
    assert task.answer_exit(waiting).status == 137
    assert task.answer_exit(inside).status == 137
    assert all(shims.gone(orphan) for orphan in [pid, *orphans])
    assert task.delete("e").pid == pid
    task.delete()
    assert groups(task) == []


@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        (("/no/such",), InvalidArgument, r'exec: "/no/such": stat /no/such: no such file or directory'),
        (("nope",), InvalidArgument, r'exec: "nope": executable file not found in \$PATH'),
        (("/etc/passwd",), InvalidArgument, 'exec: "/etc/passwd": permission denied'),
        (("/etc",), InvalidArgument, 'exec: "/etc": is a directory'),
    ],
)
def test_a_program_that_cannot_be_run(
    make: Make, args: tuple[str, ...], error: type[HakoError], text: str
) -> None:
    task = make(*args)
    with pytest.raises(error, match=text):
        task.create()
    assert groups(task) == []
    with pytest.raises(NotFound):
        task.state()


def test_a_script_of_no_interpreter_fails_at_start(make: Make) -> None:
    task = make("/bad")
    upper = task.bundle.path / "upper" / "bad"
    upper.write_bytes(b"#!/no/interpreter\n")
    upper.chmod(0o755)
    task.create()
    waiting = task.send_wait()
    with pytest.raises(InvalidArgument, match="exec /bad: no such file or directory"):
        task.start()
    assert task.answer_exit(waiting).status != 0
    task.delete()
    assert groups(task) == []


@pytest.mark.parametrize(
    ("sections", "error", "text"),
    [
        ({"hooks": {"startContainer": [{"path": "true"}]}}, InvalidArgument, r"hooks.startContainer\[0\]"),
        ({"ociVersion": "2.0"}, InvalidArgument, "ociVersion"),
        ({"mounts": [{"destination": "/x", "type": "nofs"}]}, HakoError, "mount nofs at /x"),
        ({"mounts": [{"destination": "/x", "type": "bind", "source": "/no/src"}]}, HakoError, "bind /no/src"),
        ({"linux": {"resources": {"pids": {"limit": "x"}}}}, InvalidArgument, "limit"),
        ({"linux": {"cgroupsPath": "../../x"}}, InvalidArgument, "linux.cgroupsPath"),
        ({"linux": {"seccomp": {"defaultAction": "SCMP_NO"}}}, InvalidArgument, "SCMP_NO"),
        ({"linux": {"sysctl": {"kernel.nope": "1"}}}, HakoError, "linux.sysctl.kernel.nope: is the host's"),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "network", "path": "/no/ns"}]}}, HakoError,
         "join network namespace: no such file or directory"),
        ({"process": {"user": {"uid": 1000}, "cwd": "/root/x"}}, HakoError, "chdir to cwd"),
    ],
)  # fmt: skip
def test_a_failed_create_leaves_nothing(
    make: Make, sections: dict[str, object], error: type[HakoError], text: str
) -> None:
    task = make("true")
    cgroup = task.bundle.cgroup
    (task.bundle.path / "upper" / "root").mkdir(mode=0o700)
    task.bundle.edit(**sections)
    with pytest.raises(error, match=text):
        task.create()
    assert [str(p) for p in Path("/sys/fs/cgroup").glob(f"*{cgroup}")] == []
    task.shutdown()
    assert shims.gone(task.shim)


def test_a_config_that_is_not_json(make: Make) -> None:
    task = make("true")
    (task.bundle.path / "config.json").write_text("{")
    with pytest.raises(InvalidArgument, match="is not JSON"):
        task.create()


def test_create_again_after_a_failure(make: Make) -> None:
    task = make("nope")
    with pytest.raises(InvalidArgument):
        task.create()
    task.bundle.edit(process={"args": ["true"]})
    task.create()
    task.start()
    assert task.wait().status == 0


def test_pause_and_resume(make: Make) -> None:
    task = make("sh", "-c", "while :; do sleep 0.02; done")
    task.create()
    with pytest.raises(FailedPrecondition, match="cannot pause a created container"):
        task.verb("Pause")
    task.start()
    task.verb("Pause")
    assert task.state() == "paused"
    with pytest.raises(FailedPrecondition):
        task.exec("e", ["true"])
    task.verb("Resume")
    assert task.state() == "running"
    task.verb("Pause")
    task.kill()
    assert task.wait().status == 137


def test_a_manager_that_went_can_come_back(make: Make) -> None:
    task = make("sh", "-c", "sleep 0.3; exit 7")
    task.create()
    task.start()
    task.rpc.close()
    task.rpc = shims.Ttrpc(task.socket_path)
    assert task.wait().status == 7


def test_many_fast_ends(make: Make) -> None:
    """An end right after the start may be known before the start is answered: both are told."""
    for _ in range(20):
        task = make("true")
        task.create()
        waiting, starting = task.send_wait(), task.send_start()
        pid = task.answer_pid(starting)
        assert task.answer_exit(waiting).status == 0
        assert task.delete().pid == pid
        task.shutdown()


def test_the_rehearsal_comes_to_its_end(place: Path) -> None:
    """A play that has fallen behind the code would cost every shim its memory, and say so here only."""
    home = place / "rehearsal"
    home.mkdir()
    with shims.Zygote(home):
        pass
    assert (home / "zygote.log").read_text() == ""


def test_hooks_of_the_start_and_the_end(make: Make, tmp_path: Path) -> None:
    """The start is answered when they have run; one that fails is told in the shim's log, and the next one runs."""
    told = tmp_path / "told"
    task = make("sleep", "60")
    task.bundle.edit(hooks={
        kind: [
            {"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]},
            {"path": "/bin/sh", "args": ["sh", "-c", f"sleep 0.3; echo {kind} >> {told}"]},
        ]
        for kind in ("poststart", "poststop")
    })  # fmt: skip
    task.create()
    assert not told.exists()
    task.start()
    assert told.read_text() == "poststart\n"
    assert "hook poststart /bin/sh: exit status 3" in (task.bundle.path / "shim.log").read_text()
    task.kill()
    task.wait()
    task.delete()
    task.shutdown()
    assert shims.gone(task.shim)
    assert told.read_text() == "poststart\npoststop\n"
