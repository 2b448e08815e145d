"""Upgrade in place below the manager: zygote and shims go on as another installation's program."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.shim.conftest import leftovers

from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import HakoError
from hakobune.linux import pidfd
from hakobune.testing import bundle, installation, shims
from hakobune.version import VERSION
from hakobune.wire import side

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
    environment = {"HAKOBUNE_REST_SECONDS": "0.2", "HAKOBUNE_FAILPOINT": str(home)}
    with shims.Zygote(home, events=events.path, environment=environment) as running:
        yield running
    assert not leftovers(), "the test left something behind"


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
    group = Cgroup.find((killed.bundle.path / "cgroup").read_text())
    assert group.wait_empty(5)
    group.delete(remove_empty_parents=True)
    task.close_io()
    assert task.wait().status == 3


Renew = Callable[[shims.Task], None]


@pytest.fixture(params=["fork", "exec"])
def renew(request: pytest.FixtureRequest, own: shims.Zygote, newer: str) -> Renew:
    """Have a shim go on as the newer code, in each of the two ways."""
    way: str = request.param
    if way == "fork" and not pidfd.remembers_exits():
        pytest.skip("the kernel does not tell the status of what others have reaped")

    def one(task: shims.Task) -> None:
        born = own.ask("PING")[2]
        if way == "fork":
            own.ask("UPGRADE", newer)
        before = shims.shim_of(task.bundle)
        previous, release = task.renew(newer, way)
        assert release == NEXT
        assert previous == born or (
            way == "fork" and previous == NEXT
        )  # it may have gone to rest there meanwhile
        if way == "fork":
            assert shims.gone(before)
        assert (task.shim == before) == (way == "exec")
        assert Path(f"/proc/{task.shim}/comm").read_text() == "hako-shim\n"
        title = Path(f"/proc/{task.shim}/cmdline").read_bytes().rstrip(b"\0")
        assert title == f"hako-shim -namespace test -id {task.bundle.id}".encode()

    return one


def logged(path: Path) -> str:
    return "".join(json.loads(line)["log"] for line in path.read_text().splitlines())


def test_a_counters_log_has_no_gap(own: shims.Zygote, lower: Path, renew: Renew) -> None:
    script = "n=0; while [ $n -lt 400 ]; do n=$((n+1)); echo $n; sleep 0.005; done; exit 6"
    task = running(own, lower, "sh", "-c", script)
    waiting = task.send_wait()
    (init,) = [pid for pid in task.pids() if pid == int((task.bundle.path / "init.pid").read_text())]
    renew(task)
    assert init in task.pids()
    assert task.answer_exit(waiting).status == 6
    assert logged(task.bundle.path / "log") == "".join(f"{n}\n" for n in range(1, 401))
    assert (task.bundle.path / "exit_status").read_text().startswith("6 ")


def test_clients_and_execs_come_along(own: shims.Zygote, lower: Path, renew: Renew) -> None:
    made = bundle.make(
        own.directory / "b-clients", lower, ["sh", "-c", "while read x; do echo got $x; done; exit 3"]
    )
    task = own.task(made)
    path = f"{task.socket_path}.e"
    made.edit(annotations={"io.hakobune.side": path})
    task.create(stdin="attach:", stdout="attach:")
    engine = shims.Side(path)
    client = engine.attach(side.STDIN | side.STDOUT)
    task.start()
    task.exec("e", ["sh", "-c", "sleep 1.5; exit 4"])
    task.start("e")
    waiting, init = task.send_wait("e"), task.send_wait()
    task.exec("later", ["sh", "-c", "exit 5"])
    client.sendall(b"one\n")
    renew(task)
    client.sendall(b"two\n")
    found = b""
    while found.count(b"\n") < 2:
        found += client.recv(4096)
    assert found == b"got one\ngot two\n"
    assert task.answer_exit(waiting).status == 4
    task.start("later")
    assert task.wait("later").status == 5
    task.close_io()
    assert task.answer_exit(init).status == 3
    engine.close()
    assert client.recv(1) == b""
    client.close()


def test_a_terminal_comes_along(own: shims.Zygote, lower: Path, renew: Renew) -> None:
    made = bundle.make(
        own.directory / "b-tty", lower, ["sh", "-c", "read x; stty size; exit 2"], process={"terminal": True}
    )
    task = own.task(made)
    path = f"{task.socket_path}.e"
    made.edit(annotations={"io.hakobune.side": path})
    task.create(stdin="attach:", stdout="attach:", terminal=True)
    engine = shims.Side(path)
    client = engine.attach(side.STDIN | side.STDOUT)
    task.start()
    renew(task)
    task.resize(101, 33)
    engine.close()
    client.sendall(b"go\n")
    found = b""
    with client:
        while part := client.recv(65536):
            found += part
    assert found == b"go\r\n33 101\r\n"
    assert task.wait().status == 2


def test_a_sleeper_and_one_that_is_not_started(own: shims.Zygote, lower: Path, renew: Renew) -> None:
    task = running(own, lower, "sh", "-c", "read x; exit 3")
    if pidfd.remembers_exits():
        task.rest()
    renew(task)
    task.close_io()
    assert task.wait().status == 3
    made = bundle.make(own.directory / "b-created", lower, ["sh", "-c", "exit 4"])
    task = own.task(made)
    task.create()
    renew(task)
    assert task.state() == "created"
    task.start()
    assert task.wait().status == 4


def test_a_shim_keeps_what_cannot_go_on_out(own: shims.Zygote, lower: Path, tmp_path: Path) -> None:
    task = running(own, lower, "sh", "-c", "read x; exit 3")
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(HakoError, match="wait status 768"):
        task.renew(str(broken), "exec")
    with pytest.raises(HakoError, match="no program with a full path"):
        task.renew("python", "exec")
    with pytest.raises(HakoError, match="no way to renew"):
        task.renew("", "swim")
    task.close_io()
    assert task.wait().status == 3


def test_the_way_back(own: shims.Zygote, lower: Path, tmp_path: Path) -> None:
    """Code that passed its check and cannot go on all the same: the shim is the old one again, and says so."""
    python = installation.copy(tmp_path / "n", NEXT)
    (code,) = (tmp_path / "n").glob("lib/*/site-packages/hakobune/shim/bootstrap.py")
    code.write_text(
        code.read_text().replace(
            "    packed = handover.document(memory)\n    luggage = Luggage([os.dup(fd)",
            '    packed = handover.document(memory)\n    if "--check" not in sys.argv:\n        raise ValueError("broken")\n'
            "    luggage = Luggage([os.dup(fd)",
        )
    )
    task = running(own, lower, "sh", "-c", "read x; echo $x; exit 3")
    with pytest.raises(HakoError, match="went back"):
        task.renew(str(python), "exec")
    assert "ValueError: broken" in (task.bundle.path / "shim.log").read_text()
    assert task.renew("", "exec") == (VERSION, VERSION)
    task.close_io()
    assert task.wait().status == 3


@pytest.mark.parametrize(
    ("point", "way"),
    [("shim.renew.written", "exec"), ("shim.renew.resumed", "exec"), ("shim.renew.restored", "fork")],
)
def test_killed_on_the_way(own: shims.Zygote, lower: Path, point: str, way: str) -> None:
    """The old one goes on where it can; otherwise the container is buried."""
    if way == "fork" and not pidfd.remembers_exits():
        pytest.skip("the kernel does not tell the status of what others have reaped")
    task = running(own, lower, "sh", "-c", "read x; exit 3")
    init = int((task.bundle.path / "init.pid").read_text())
    (own.directory / point).touch()
    if way == "fork":
        assert task.renew("", way) == (VERSION, VERSION)  # at the second attempt
        assert not (own.directory / point).exists()
        task.close_io()
        assert task.wait().status == 3
        return
    with pytest.raises((EOFError, OSError)):
        task.renew("", way)
    assert shims.gone(init)
    record = task.bundle.path / "exit_status"
    end = time.monotonic() + shims.SECONDS
    while not record.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert record.read_text().startswith("137 ")
    group = Cgroup.find((task.bundle.path / "cgroup").read_text())
    assert group.wait_empty(5)
    group.delete(remove_empty_parents=True)


def test_a_zygote_killed_on_the_way(lower: Path, place: Path) -> None:
    """Shims do not need it, and go over to the next one."""
    home = place / "onway"
    home.mkdir()
    with shims.Zygote(home, environment={"HAKOBUNE_FAILPOINT": str(home)}) as zygote:
        task = running(zygote, lower, "sh", "-c", "read x; exit 3")
        (home / "zygote.renew.checked").touch()
        with pytest.raises((HakoError, OSError)):
            zygote.ask("UPGRADE", "")
        assert zygote.process.wait(shims.SECONDS) == -signal.SIGKILL
        with shims.Zygote(home):
            assert task.renew() == (VERSION, VERSION)
            task.close_io()
            assert task.wait().status == 3
            task.delete()
            task.shutdown()
        zygote.tasks.clear()
        task.rpc.close()


def test_a_zygote_keeps_what_cannot_be_executed_out(own: shims.Zygote, lower: Path, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    for python, why in (
        (str(broken), "refuses"),
        ("/nowhere/python", "is no program"),
        ("python", "full path"),
    ):
        with pytest.raises(HakoError, match=why):
            own.ask("UPGRADE", python)
    assert own.ask("PING")[2] == VERSION
    assert running(own, lower, "true").wait().status == 0
