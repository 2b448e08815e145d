"""`Cgroup` on the real kernel: made, entered, limited, frozen, killed, removed; nothing left."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hakobune.cgroups.cgroup import Cgroup
from hakobune.cgroups.layout import detect
from hakobune.errors import AlreadyExists, InvalidArgument

pytestmark = pytest.mark.root

PARENT = f"/hakotest-{os.getpid()}"
RULES = [
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
]


@pytest.fixture
def made() -> Iterator[list[Cgroup]]:
    """Groups to remove after the test, whatever happened."""
    groups: list[Cgroup] = []
    yield groups
    for group in groups:
        group.kill()
        while group.pids():
            if os.waitpid(-1, 0)[0]:
                continue
        group.delete(remove_empty_parents=True)
        assert not any(os.path.exists(path) for path in group.directories())


def make(made: list[Cgroup], name: str = "a", resources: dict[str, Any] | None = None) -> Cgroup:
    group = Cgroup.create(f"{PARENT}/{name}", resources or {})
    made.append(group)
    return group


def child(group: Cgroup, body: Any = None) -> int:
    """A process inside the group; it waits for a signal, or exits with what `body` returns."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            group.enter()
            os.write(done, b"x")
            if body is None:
                signal.pause()
            code = body()
        finally:
            os._exit(code)
    os.close(done)
    assert os.read(ready, 1) == b"x"
    os.close(ready)
    return pid


def status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_create_twice_while_empty_and_never_while_used(made: list[Cgroup]) -> None:
    group = make(made)
    Cgroup.create(group.path, {})
    pid = child(group)
    assert group.pids() == [pid]
    with pytest.raises(AlreadyExists):
        Cgroup.create(group.path, {})
    group.kill()
    assert status(pid) == -signal.SIGKILL


def test_limits_are_in_force(made: list[Cgroup]) -> None:
    resources = {
        "memory": {"limit": 64 << 20, "swap": 64 << 20},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000},
        "pids": {"limit": 3},
    }
    group = make(made, resources=resources)
    stats = group.stats()
    assert stats["memory"]["usage"]["limit"] == 64 << 20
    assert stats["pids"]["limit"] == 3

    def fork_until_refused() -> int:
        for count in range(9):
            try:
                if os.fork() == 0:
                    signal.pause()
            except BlockingIOError:
                return count
        return 50

    assert status(child(group, fork_until_refused)) == 2
    group.kill()
    assert group.wait_empty(5)


def test_update_leaves_the_rest(made: list[Cgroup]) -> None:
    group = make(made, resources={"pids": {"limit": 3}, "memory": {"limit": 64 << 20}})
    assert group.update({"memory": {"limit": 32 << 20}}) == []
    stats = group.stats()
    assert (stats["pids"]["limit"], stats["memory"]["usage"]["limit"]) == (3, 32 << 20)


def test_a_value_the_kernel_refuses_leaves_nothing(made: list[Cgroup]) -> None:
    with pytest.raises(InvalidArgument):
        Cgroup.create(f"{PARENT}/bad", {"cpu": {"cpus": "9999"}})
    assert not any(os.path.exists(path) for path in Cgroup.find(f"{PARENT}/bad").directories())
    make(made)  # its removal takes the parents away


def test_devices(made: list[Cgroup]) -> None:
    group = make(made, resources={"devices": RULES})

    def opens() -> int:
        os.close(os.open("/dev/null", os.O_RDWR))
        try:
            os.open("/dev/zero", os.O_RDONLY)
        except PermissionError:
            return 0
        return 1

    assert status(child(group, opens)) == 0


def test_devices_by_program_on_the_unified_hierarchy(made: list[Cgroup]) -> None:
    layout = detect()
    if not layout.unified:
        pytest.skip("no cgroup2 mount")
    group = make(made)
    only_v2 = Cgroup.from_record(group.record() | {"v1": {}})
    only_v2.update({"devices": RULES})
    only_v2.update({"devices": RULES})  # replaces, does not pile up

    def opens() -> int:
        os.close(os.open("/dev/null", os.O_RDWR))
        try:
            os.open("/dev/zero", os.O_RDONLY)
        except PermissionError:
            return 0
        return 1

    assert status(child(group, opens)) == 0
    only_v2.update({"devices": [{"allow": True, "access": "rwm"}]})
    assert status(child(group, lambda: len(os.read(os.open("/dev/zero", os.O_RDONLY), 1)))) == 1


def test_kill_takes_what_the_container_hid_in_groups_of_its_own(made: list[Cgroup]) -> None:
    group = make(made)
    if "cpuset" in group.v1:  # a new group of it has no processors, and takes nobody in
        Path(group.v1["cpuset"], "cgroup.clone_children").write_text("1")
    for place in (*group.v1.values(), group.unified):  # as a container would: no controller is handed down
        if place:
            os.makedirs(f"{place}/own/deep", exist_ok=True)
    below = Cgroup.find(f"{group.path}/own/deep")
    pids = {child(group), child(below)}
    assert set(group.pids()) == pids
    group.kill()
    assert {status(pid) for pid in pids} == {-signal.SIGKILL}
    group.delete()
    assert not any(os.path.exists(path) for path in below.directories())


def test_kill_without_cgroup_kill(made: list[Cgroup]) -> None:
    group = make(made)
    old = Cgroup.from_record(group.record() | {"unified": ""}) if group.v1 else group
    pid = child(group)
    old.freeze()
    assert old.frozen()
    old.kill()
    assert status(pid) == -signal.SIGKILL


def test_freeze_and_thaw(made: list[Cgroup]) -> None:
    group = make(made)
    pid = child(group)
    group.freeze()
    assert group.frozen()
    group.thaw()
    assert not group.frozen()
    os.kill(pid, signal.SIGKILL)
    assert status(pid) == -signal.SIGKILL


def test_oom_is_counted_and_signalled(made: list[Cgroup]) -> None:
    group = make(made, resources={"memory": {"limit": 8 << 20, "swap": 8 << 20}})
    notify, events = group.oom_watch()

    def eat() -> int:
        kept = [bytearray(b"x") * (1 << 20) for _ in range(64)]
        return len(kept)

    assert status(child(group, eat)) == -signal.SIGKILL
    assert group.oom_kills() == 1
    if notify >= 0:
        poll = select.poll()
        poll.register(notify, events)
        assert poll.poll(5000)
        os.close(notify)


def test_everything_on_an_absent_group_is_quiet() -> None:
    group = Cgroup.find(f"{PARENT}/never")
    assert group.pids() == []
    group.kill()
    assert group.wait_empty(0)
    group.delete(remove_empty_parents=True)
    assert group.oom_kills() == 0
    assert group.stats()["pids"]["current"] == 0
