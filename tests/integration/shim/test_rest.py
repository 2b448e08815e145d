"""A shim at rest is another process; nobody but `ps` can tell: streams, log, waits, ends and errors are the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hakobune.cgroups.cgroup import Cgroup
from hakobune.linux import pidfd
from hakobune.testing import bundle, shims
from hakobune.wire import side, stdcopy

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not pidfd.remembers_exits(), reason="the kernel does not tell the status of what others have reaped"
    ),
]
Make = Callable[..., shims.Task]
REST = {"HAKOBUNE_REST_SECONDS": "0.2"}


@pytest.fixture(scope="module")
def zygote(place: Path, events: shims.Events) -> Iterator[shims.Zygote]:
    """One whose shims soon go to sleep."""
    with shims.Zygote(place, events=events.path, environment=REST) as running:
        yield running


def logged(path: Path) -> str:
    return "".join(json.loads(line)["log"] for line in path.read_text().splitlines())


def with_side(task: shims.Task) -> shims.Side:
    path = f"{task.socket_path}.e"
    task.bundle.edit(annotations={"io.hakobune.side": path})
    log = f"json-file://{task.bundle.path}/log"
    task.create(stdin="attach:", stdout=log, stderr=log)
    return shims.Side(path)


def running(make: Make, *args: str) -> shims.Task:
    task = make(*args)
    log = f"json-file://{task.bundle.path}/log"
    task.create(stdout=log, stderr=log)
    task.start()
    return task


def test_the_end_is_known_at_once(make: Make, events: shims.Events) -> None:
    task = running(make, "sleep", "60")
    waiting = task.send_wait()
    before = task.shim
    assert task.rest() != before
    assert task.state() == "running"  # wakes it
    task.kill()
    assert task.answer_exit(waiting).status == 137
    assert task.delete().status == 137
    events.topics("/tasks/delete")


def test_an_end_wakes_it(make: Make) -> None:
    task = make("sh", "-c", "sleep 0.9; echo last; exit 9")
    task.create(stdout=f"json-file://{task.bundle.path}/log")
    task.start()
    waiting = task.send_wait()
    task.rest()
    assert task.answer_exit(waiting).status == 9
    assert logged(task.bundle.path / "log") == "last\n"
    assert (task.bundle.path / "exit_status").read_text().startswith("9 ")


def test_execs_and_a_second_rest(make: Make) -> None:
    task = running(make, "sleep", "60")
    task.rest()
    task.exec("e", ["sh", "-c", "echo $PPID; exit 5"])
    task.start("e")
    assert task.wait("e").status == 5
    task.rest()
    assert task.delete("e").status == 5
    task.exec("long", ["sleep", "60"])
    task.start("long")
    waiting = task.send_wait("long")
    task.rest()
    task.kill(exec_id="long")
    assert task.answer_exit(waiting).status == 137
    assert task.state() == "running"


def test_created_and_not_started(make: Make) -> None:
    task = make("sh", "-c", "exit 4")
    task.create()
    task.rest()
    assert task.state() == "created"
    task.start()
    assert task.wait().status == 4


def test_the_log_has_no_gap(make: Make) -> None:
    script = 'for n in 1 2 3; do printf part; sleep 0.5; echo " $n"; done'
    task = running(make, "sh", "-c", script)
    task.rest()
    assert task.wait().status == 0
    assert logged(task.bundle.path / "log") == "part 1\npart 2\npart 3\n"


def test_attached_clients_and_engines_come_along(make: Make) -> None:
    task = make("sh", "-c", "while read line; do echo got $line; done; exit 3")
    engine = with_side(task)
    client = engine.attach(side.STDIN | side.STDOUT | side.FRAMED, head=b"HEAD")
    task.start()
    client.sendall(b"one\n")
    task.rest()
    client.sendall(b"two\n")
    expected = b"HEAD" + stdcopy.frame("stdout", b"got one\n") + stdcopy.frame("stdout", b"got two\n")
    found = b""
    while len(found) < len(expected):
        found += client.recv(65536)
    assert found == expected
    task.rest()
    waiting = task.send_wait()
    task.close_io()
    assert task.answer_exit(waiting).status == 3
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1)  # the engine is still there: its word is waited for
    engine.call(side.RELEASE, b"")
    client.settimeout(shims.SECONDS)
    assert client.recv(1) == b""
    engine.close()
    client.close()


def test_a_terminal_comes_along(make: Make) -> None:
    task = make("sh", "-c", "read x; stty size; exit 2", process={"terminal": True})
    path = f"{task.socket_path}.e"
    task.bundle.edit(annotations={"io.hakobune.side": path})
    task.create(stdin="attach:", stdout="attach:", terminal=True)
    engine = shims.Side(path)
    client = engine.attach(side.STDIN | side.STDOUT)
    task.start()
    task.rest()
    task.resize(101, 33)
    engine.close()  # without one the client is answered at the end
    task.rest()
    client.sendall(b"go\n")
    found = b""
    with client:
        while part := client.recv(65536):
            found += part
    assert found == b"go\r\n33 101\r\n"
    assert task.wait().status == 2


def test_a_killed_sleeper_takes_its_container_along(make: Make) -> None:
    task = make("sh", "-c", "sleep 60 & sleep 61")
    pid = task.create()
    task.start()
    os.kill(task.rest(), signal.SIGKILL)
    assert shims.gone(pid)
    path = (task.bundle.path / "cgroup").read_text()
    deadline = time.monotonic() + shims.SECONDS
    while not (task.bundle.path / "exit_status").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (task.bundle.path / "exit_status").read_text().startswith("137 ")
    group = Cgroup.find(path)
    assert group.wait_empty(5)
    group.delete(remove_empty_parents=True)


def test_without_a_zygote_it_sleeps_on_and_does_not_go_to_sleep_again(lower: Path, place: Path) -> None:
    home = place / "gone"
    home.mkdir()
    with shims.Zygote(home, environment=REST) as zygote:
        task = zygote.task(bundle.make(home / "b", lower, ["sleep", "60"]))
        task.create()
        task.start()
        sleeper = task.rest()
        zygote.process.kill()
        zygote.process.wait()
        waiting = task.send_wait()
        time.sleep(0.8)  # it wakes, has nothing to do, and finds nobody to go over to
        assert task.state() == "running"
        assert shims.shim_of(task.bundle) == sleeper
        task.kill()
        assert task.answer_exit(waiting).status == 137  # whoever has reaped it
        task.delete()


def test_a_shim_that_everybody_has_forgotten_ends(lower: Path, place: Path) -> None:
    home = place / "swept"
    home.mkdir()
    with shims.Zygote(home, environment=REST) as zygote:
        task = zygote.task(bundle.make(home / "b", lower, ["sleep", "60"]))
        task.create()
        task.start()
        zygote.process.kill()
        zygote.process.wait()
        task.kill()
        task.wait()
        group = Cgroup.find((task.bundle.path / "cgroup").read_text())
        shutil.rmtree(task.bundle.path)
        assert shims.gone(task.shim)
        group.delete(remove_empty_parents=True)


def test_a_stopped_zygote_holds_up_nobody(lower: Path, place: Path) -> None:
    home = place / "stopped"
    home.mkdir()
    with shims.Zygote(home, environment=REST) as zygote:
        task = zygote.task(bundle.make(home / "b", lower, ["sh", "-c", "read x; exit 6"]))
        task.create(stdin="attach:")
        task.start()
        zygote.process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(1.6)  # it offers itself, and takes that back
            assert task.state() == "running"
            task.close_io()
            assert task.wait().status == 6
        finally:
            zygote.process.send_signal(signal.SIGCONT)
        assert shims.shim_of(task.bundle) == task.shim
        task.delete()
