"""One descriptor in the loop: reading, pausing, half-close, going."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from hakobune.task.duplex import Duplex
from hakobune.task.loop import IN, OUT


class Board:
    """A loop's switchboard without epoll: `fire` plays the kernel."""

    def __init__(self) -> None:
        self.watched: dict[int, tuple[int, Callable[[int], None]]] = {}

    def watch(self, fd: int, events: int, watcher: Callable[[int], None]) -> None:
        self.watched[fd] = (events, watcher)

    def unwatch(self, fd: int) -> None:
        self.watched.pop(fd, None)

    def fire(self, fd: int, events: int) -> None:
        self.watched[fd][1](events)


HUP = 0x10


@pytest.fixture
def board() -> Board:
    return Board()


class Ends:
    """A duplex over a socket pair, its peer, and what it told."""

    def __init__(self, board: Board, **options: object) -> None:
        mine, self.peer = socket.socketpair()
        self.told: list[object] = []
        self.duplex = Duplex(
            board,  # type: ignore[arg-type]
            mine.detach(),
            on_data=self.told.append,
            on_end=lambda: self.told.append("end"),
            on_gone=lambda: self.told.append("gone"),
            **options,  # type: ignore[arg-type]
        )
        self.fd = self.duplex.fd


def test_data_end_and_gone(board: Board) -> None:
    ends = Ends(board)
    ends.peer.sendall(b"hello")
    board.fire(ends.fd, IN)
    ends.peer.shutdown(socket.SHUT_WR)
    board.fire(ends.fd, IN)
    assert ends.told == [b"hello", "end"]
    assert board.watched[ends.fd][0] == 0  # still watched for the going
    ends.duplex.write(b"answer")
    assert ends.peer.recv(10) == b"answer"
    ends.peer.close()
    board.fire(ends.fd, HUP)
    assert ends.told == [b"hello", "end", "gone"]
    assert ends.duplex.closed
    assert ends.fd not in board.watched
    ends.duplex.close()
    ends.duplex.write(b"silent")


def test_paused_data_is_read_after_the_hang_up(board: Board) -> None:
    ends = Ends(board)
    ends.duplex.pause(True)
    ends.peer.sendall(b"last words")
    ends.peer.close()
    board.fire(ends.fd, HUP)
    assert ends.told == []
    ends.duplex.pause(False)
    board.fire(ends.fd, IN | HUP)
    board.fire(ends.fd, IN | HUP)
    assert ends.told == [b"last words", "end"]
    ends.duplex.close()


def test_close_after_sends_everything_first(board: Board) -> None:
    ends = Ends(board)
    data = os.urandom(1 << 20)
    ends.duplex.write(data)
    ends.duplex.close_after()
    assert board.watched[ends.fd][0] == OUT
    got = b""
    while not ends.duplex.closed:
        got += ends.peer.recv(1 << 20)
        board.fire(ends.fd, OUT)
    ends.peer.setblocking(True)
    while part := ends.peer.recv(1 << 20):
        got += part
    assert got == data
    ends.peer.close()


def test_a_write_to_nobody(board: Board) -> None:
    ends = Ends(board)
    ends.peer.close()
    ends.duplex.write(b"x")
    assert ends.told == ["gone"]
    assert ends.duplex.closed


def test_release_gives_the_descriptor_away(board: Board) -> None:
    ends = Ends(board)
    fd = ends.duplex.release()
    with socket.socket(fileno=fd) as free:
        free.sendall(b"free")
    assert ends.peer.recv(10) == b"free"
    ends.peer.close()
