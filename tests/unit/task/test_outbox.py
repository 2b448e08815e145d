"""Bytes kept for a slow receiver: order and completeness over memory, file and full disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hakobune.task import outbox
from hakobune.task.outbox import Outbox

BLOCK = bytes(range(256)) * 256


class Heard:
    """What an outbox tells its owner."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.gone = 0
        self.room = 0

    def box(self, fd: int, spill: str = "") -> Outbox:
        return Outbox(fd, spill=spill, ask=self.asked.append, on_gone=self.on_gone, on_room=self.on_room)

    def on_gone(self) -> None:
        self.gone += 1

    def on_room(self) -> None:
        self.room += 1


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            pass


def drain(box: Outbox, reading: int) -> bytes:
    got = bytearray()
    while True:
        try:
            got += os.read(reading, 1 << 16)
        except BlockingIOError:
            if box.empty:
                return bytes(got)
            box.flush()


@pytest.mark.parametrize("count", [1, 3, 6, 20])
def test_everything_in_order_over_the_file(pipe: tuple[int, int], tmp_path: Path, count: int) -> None:
    heard = Heard()
    box = heard.box(pipe[1], str(tmp_path))
    blocks = [bytes([number]) + BLOCK for number in range(count)]
    for block in blocks:
        box.write(block)
    assert not box.full
    assert drain(box, pipe[0]) == b"".join(blocks)
    assert heard.asked[-1:] in ([], [False])
    assert list(tmp_path.iterdir()) == []


def test_without_a_file_it_is_full_and_tells_of_room(pipe: tuple[int, int]) -> None:
    heard = Heard()
    box = heard.box(pipe[1])
    sent = b""
    while not box.full:
        box.write(BLOCK)
        sent += BLOCK
    assert drain(box, pipe[0]) == sent
    assert heard.room == 1


def test_a_full_disk_in_the_middle(
    pipe: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    box = heard.box(pipe[1], str(tmp_path))
    real = os.pwrite
    allowed = 5

    def pwrite(fd: int, data: bytes, at: int) -> int:
        nonlocal allowed
        allowed -= 1
        if allowed < 0:
            raise OSError(28, "no space left on device")
        return real(fd, data, at)

    monkeypatch.setattr(outbox.os, "pwrite", pwrite)
    blocks = [bytes([number]) + BLOCK for number in range(14)]
    for block in blocks:
        box.write(block)
    assert box.full
    assert drain(box, pipe[0]) == b"".join(blocks)
    assert heard.room == 1
    box.write(b"after")
    assert drain(box, pipe[0]) == b"after"


def test_finish(pipe: tuple[int, int]) -> None:
    heard, ended = Heard(), []
    box = heard.box(pipe[1])
    box.finish(lambda: ended.append("at once"))
    for _ in range(4):
        box.write(BLOCK)
    box.finish(lambda: ended.append("later"))
    assert ended == ["at once"]
    drain(box, pipe[0])
    assert ended == ["at once", "later"]


def test_the_other_side_goes(pipe: tuple[int, int]) -> None:
    heard, ended = Heard(), []
    box = heard.box(pipe[1])
    for _ in range(4):
        box.write(BLOCK)
    box.finish(lambda: ended.append(1))
    os.close(pipe[0])
    box.flush()
    box.write(b"nothing")
    assert (heard.gone, ended, box.gone) == (1, [1], True)


def test_drop_is_silent_and_final(pipe: tuple[int, int], tmp_path: Path) -> None:
    box = Heard().box(pipe[1], str(tmp_path))
    for _ in range(10):
        box.write(BLOCK)
    box.drop()
    box.drop()
    assert box.gone
    call: Callable[[], None] = box.flush
    call()
