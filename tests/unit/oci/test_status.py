"""The runtime's state directory, and a process known by its start time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hakobune.errors import AlreadyExists, InvalidArgument, NotFound
from hakobune.oci.status import Container, Record, containers, start_time


def record(pid: int, started: int) -> Record:
    return Record("c", "1.2.0", "/b", "/b/rootfs", pid, started, "/nowhere", 5)


def test_claim_write_read_forget(tmp_path: Path) -> None:
    container = Container(str(tmp_path / "root"), "c")
    with pytest.raises(NotFound):
        container.read()
    container.claim()
    with pytest.raises(AlreadyExists, match="already exists: c"):
        container.claim()
    assert containers(str(tmp_path / "root")) == []
    container.write(record(1, 2))
    assert container.read() == record(1, 2)
    assert [one.id for one in containers(str(tmp_path / "root"))] == ["c"]
    container.forget()
    container.forget()
    assert containers(str(tmp_path / "none")) == []


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "a b", "é"])
def test_ids(tmp_path: Path, bad: str) -> None:
    with pytest.raises(InvalidArgument):
        Container(str(tmp_path), bad)


def test_status_is_read_from_the_kernel(tmp_path: Path) -> None:
    container = Container(str(tmp_path), "c")
    container.claim()
    own = record(os.getpid(), start_time(os.getpid()))
    assert container.status(own) == "running"
    Path(container.gate).touch()
    assert container.status(own) == "created"
    assert container.status(record(os.getpid(), 1)) == "stopped"  # a reused pid
    assert container.status(record(0, 0)) == "stopped"


def test_a_zombie_has_ended() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert start_time(pid) == 0
    os.waitpid(pid, 0)
