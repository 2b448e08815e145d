"""When a worker for the next exec is forked ahead, and when it is let go."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from hakobune.oci.init import messages
from hakobune.task import spare
from hakobune.task.loop import Loop
from hakobune.task.spare import Forked, Spare


class Rig:
    """A spare whose workers are nothing but channels."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.far: list[socket.socket] = []
        self.spare = Spare(loop, self.fork)
        self.refused = False

    def close(self) -> None:
        self.spare.drop()
        for far in self.far:
            far.close()

    def fork(self) -> Forked:
        if self.refused:
            raise OSError("no more processes")
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.far.append(far)
        return len(self.far), near

    def turn(self, seconds: float) -> None:
        self.loop._running = True  # once more: a loop has one life
        self.loop.later(seconds, self.loop.stop)
        self.loop.run()

    def series(self) -> None:
        """Two execs, and the time that follows."""
        for _ in range(2):
            assert self.spare.take(b"{}") is None
            self.spare.soon()
        self.turn(0.05)


@pytest.fixture
def rig(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(spare, "KEPT_SECONDS", 0.2)
    made = Rig(loop)
    yield made
    made.close()


def test_one_exec_is_no_series(rig: Rig) -> None:
    assert rig.spare.take(b"{}") is None
    rig.spare.soon()
    rig.turn(0.05)
    assert rig.far == []


def test_nor_are_two_that_lie_apart(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spare, "SERIES_SECONDS", 0.01)
    for _ in range(2):
        assert rig.spare.take(b"{}") is None
        rig.spare.soon()
        time.sleep(0.02)
    rig.turn(0.05)
    assert rig.far == []


def test_the_third_finds_one(rig: Rig) -> None:
    rig.series()
    found = rig.spare.take(b'{"args": []}')
    assert found is not None
    assert found[0] == 1
    assert rig.far[0].recv(100) == b'{"args": []}'
    found[1].close()
    assert rig.spare.take(b"{}") is None


def test_it_is_not_kept_for_long(rig: Rig) -> None:
    rig.series()
    rig.turn(0.3)
    assert rig.far[0].recv(100) == b""
    assert rig.spare.take(b"{}") is None


def test_one_that_has_died_is_nobodys(rig: Rig) -> None:
    rig.series()
    rig.far[0].close()
    assert rig.spare.take(b"{}") is None
    rig.spare.soon()
    rig.turn(0.05)
    rig.spare.ended(2)
    assert rig.far[1].recv(100) == b""
    assert rig.spare.take(b"{}") is None


def test_a_process_that_is_too_long_has_its_own(rig: Rig) -> None:
    rig.series()
    assert rig.spare.take(bytes(messages.MAX_MESSAGE + 1)) is None
    assert rig.far[0].recv(100) == b""


def test_a_fork_that_is_refused(rig: Rig) -> None:
    rig.refused = True
    rig.series()
    assert rig.spare.take(b"{}") is None
    rig.spare.drop()
