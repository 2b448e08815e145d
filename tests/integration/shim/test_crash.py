"""Who dies when: a killed shim takes its container along, a killed zygote nobody; limits hold."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hakobune.cgroups import metrics
from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import HakoError
from hakobune.testing import bundle, shims
from hakobune.wire import pb

pytestmark = pytest.mark.root
Make = Callable[..., shims.Task]


def until(path: Path, seconds: float = 10) -> str:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.01)
    return path.read_text()


def test_a_killed_shim_takes_its_container_along(make: Make) -> None:
    task = make("sh", "-c", "sleep 60 & sleep 61")
    pid = task.create()
    task.start()
    os.kill(task.shim, signal.SIGKILL)
    status, at = until(task.bundle.path / "exit_status").split()
    assert status == "137"
    assert int(at) > 0
    assert shims.gone(pid)
    path = (task.bundle.path / "cgroup").read_text()
    group = Cgroup.find(path)
    assert group.wait_empty(5)
    group.delete(remove_empty_parents=True)


def test_a_shim_killed_after_the_exit_keeps_the_exit(make: Make) -> None:
    task = make("sh", "-c", "exit 3")
    task.create()
    task.start()
    done = task.wait()
    os.kill(task.shim, signal.SIGKILL)
    assert shims.gone(task.shim)
    assert until(task.bundle.path / "exit_status") == f"3 {done.at}"
    Cgroup.find((task.bundle.path / "cgroup").read_text()).delete(remove_empty_parents=True)


def test_shims_outlive_their_zygote(lower: Path, place: Path) -> None:
    home = place / "own"
    home.mkdir()
    with shims.Zygote(home) as zygote:
        task = zygote.task(bundle.make(home / "b", lower, ["sh", "-c", "sleep 0.3; exit 8"]))
        task.create()
        task.start()
        zygote.process.kill()
        zygote.process.wait()
        assert task.wait().status == 8
        task.delete()


def test_memory_limit(make: Make, events: shims.Events) -> None:
    task = make(
        "sh",
        "-c",
        "x=a; while :; do x=$x$x; done",
        resources={"memory": {"limit": 16 << 20, "swap": 16 << 20}},
    )
    task.create()
    task.start()
    assert task.wait().status == 137
    task.delete()
    events.topics("/tasks/delete")
    own = [topic for topic, fields in events.got if fields.get(1) == [task.bundle.id.encode()]]
    assert own[2:] == ["/tasks/oom", "/tasks/exit", "/tasks/delete"]


def test_oom_is_told_while_init_lives(make: Make, events: shims.Events) -> None:
    """Each time, and with nothing left over: the watch is one descriptor."""
    eat = "sh -c 'x=a; while :; do x=$x$x; done'"
    task = make(
        "sh", "-c", f"{eat}; {eat}; sleep 60", resources={"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    )
    task.create()
    task.start()
    name = task.bundle.id.encode()
    events.until(lambda got: sum(t == "/tasks/oom" and f.get(1) == [name] for t, f in got) == 2)
    assert task.state() == "running"


def test_a_time_limit_is_the_shims(lower: Path, place: Path) -> None:
    """It needs no zygote and no manager, counts from the start, and does not care for a pause."""
    home = place / "limit"
    home.mkdir()
    with shims.Zygote(home) as zygote:
        script = ["sh", "-c", "trap '' TERM; sleep 60"]
        task = zygote.task(bundle.make(home / "b", lower, script, annotations={"io.hakobune.timeout": "1"}))
        task.create()
        zygote.process.kill()
        zygote.process.wait()
        before = time.time_ns()
        task.start()
        task.verb("Pause")
        done = task.wait()
        assert done.status == 137
        assert 1.0 <= (done.at - before) / 1e9 < 5
        task.delete()


@pytest.mark.parametrize("text", ["-1", "1s", "", "9" * 11])
def test_a_time_limit_that_is_none(make: Make, text: str) -> None:
    with pytest.raises(HakoError, match=r"io\.hakobune\.timeout.*is no number of seconds"):
        make("true", annotations={"io.hakobune.timeout": text}).create()


def test_pids_limit(make: Make, place: Path) -> None:
    log = place / "pids.log"
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; echo all"
    task = make("sh", "-c", script, resources={"pids": {"limit": 4}})
    task.create(stdout=f"json-file://{log}", stderr=f"json-file://{log}")
    task.start()
    assert task.wait().status != 0
    entries = [json.loads(line)["log"] for line in log.read_text().splitlines()]
    assert any("fork" in entry.lower() for entry in entries)


def test_update_and_stats(make: Make) -> None:
    task = make("sleep", "60", resources={"memory": {"limit": 64 << 20}})
    task.create()
    task.start()
    task.update({"memory": {"limit": 32 << 20}, "pids": {"limit": 17}})
    counters = pb.decode(pb.blob(pb.decode(task.verb("Stats")), 1))  # StatsResponse.stats, an Any
    found = metrics.decode(pb.text(counters, 1), pb.blob(counters, 2))
    assert found["memory"]["usage"]["limit"] == 32 << 20
    assert found["pids"] == {"current": 1, "limit": 17}
    with pytest.raises(Exception, match="limit"):
        task.update({"memory": {"limit": "much"}})


def test_nobody_keeps_a_descriptor(make: Make) -> None:
    """What execs, attaches and waits opened in the shim is closed again."""
    task = make("sleep", "60")
    task.create()
    task.start()

    def one(name: str) -> int:
        task.exec(name, ["true"], stdout="attach:")
        task.start(name)
        task.wait(name)
        task.delete(name)
        return len(os.listdir(f"/proc/{task.shim}/fd"))

    first = one("e0")
    assert [one(f"e{number}") for number in range(1, 6)] == [first] * 5


def test_a_container_sees_nothing_of_the_engine(make: Make, place: Path) -> None:
    log = place / "fds.log"
    task = make(
        "sh", "-c", "ls /proc/self/fd; grep -E 'Sig(Ign|Blk)' /proc/self/status; wc -l < /proc/mounts"
    )
    task.create(stdout=f"json-file://{log}")
    task.start()
    assert task.wait().status == 0
    lines = [json.loads(line)["log"].strip() for line in log.read_text().splitlines()]
    assert lines[:4] == ["0", "1", "2", "3"]  # 3 is ls's own
    assert [line.split()[1] for line in lines[4:6]] == ["0" * 16] * 2


def test_a_zygote_whose_place_was_taken_goes(place: Path) -> None:
    """It ends with its last manager, and leaves the other's socket alone."""
    home = place / "taken"
    home.mkdir()
    first = shims.Zygote(home)
    with first:
        path = home / "zygote.sock"
        path.unlink()
        with shims.Zygote(home) as second:
            first.disconnect()
            assert first.process.wait(shims.SECONDS) == 0
            assert second.ask("PING")[0] == str(second.process.pid)
            assert path.exists()
