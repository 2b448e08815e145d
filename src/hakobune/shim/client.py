"""The engine's end of a shim's side socket: clients' connections go down here, and come back for a removal.

A connection of this class is also a statement: while it stands, the shim waits for `release` before it
answers clients about an end. One that breaks between two who live is made again, and what was not answered is
said again; the shim knows a client that it has had already. Imports: asyncio, socket, errors, wire.side.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hakobune.errors import HakoError, NotFound, Unavailable
from hakobune.wire import side

_ROOM_SECONDS = 0.001
_BROKEN = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)


Exited = Callable[[str, int, int, int], None]  # exec id, pid, exit status, nanoseconds since the epoch


@dataclass(frozen=True, slots=True)
class _Call:
    """A message under way, kept until it is answered; `client` is open as long."""

    packet: bytes
    client: socket.socket | None
    answer: asyncio.Future[None]


class Side:
    """One engine's connection to one shim. All methods belong to the loop's thread.

    Every method raises HakoError with the shim's own text, Unavailable when the shim is gone.
    """

    def __init__(self, connection: socket.socket, path: str) -> None:
        self._connection = connection
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, _Call] = {}
        self._returned: list[socket.socket] = []
        self._seq = 0
        self._drained: dict[str, asyncio.Event] = {}
        self.on_exited: Exited = lambda _exec_id, _pid, _status, _at: None
        self.on_input_end: Callable[[str], None] = lambda _exec_id: None  # a keeper's word
        self.on_lost: Callable[[], None] = lambda: None  # the other side has gone, not we
        self._loop.add_reader(connection.fileno(), self._readable)

    @classmethod
    async def connect(cls, path: str) -> Side:
        """Connect to the side socket at `path`. Raises Unavailable."""
        try:
            return cls(_connected(path), path)
        except OSError as err:
            raise Unavailable(f"shim at {path}: {err.strerror}") from err

    async def attach(
        self, exec_id: str, flags: int, head: bytes, early: bytes, detach_keys: bytes, client: socket.socket
    ) -> None:
        """Give a client's connection to a process's streams; `head` goes out first, `early` goes in first."""
        fields = (exec_id.encode(), str(flags).encode(), head, early, detach_keys)
        await self._call(side.ATTACH, fields, client)

    async def wait(self, condition: str, head: bytes, client: socket.socket) -> None:
        """Give a connection that waits for init's end (`next-exit`, `not-running`) or the `removed`."""
        await self._call(side.WAIT, (condition.encode(), head), client)

    async def logs(self, head: bytes, path: str, query: str, client: socket.socket) -> None:
        """Give a connection that follows the log at `path`; `query` is logs.render.View.query()."""
        await self._call(side.LOGS, (head, path.encode(), query.encode()), client)

    async def release(self, exec_id: str = "", status: int = 0) -> None:
        """The end of a process is recorded: its clients may know. A keeper learns the exit status by this."""
        await self._call(side.RELEASE, (exec_id.encode(), b"%d" % status))

    async def expect(self, exec_id: str, *, terminal: bool, stdin: bool) -> None:
        """To a keeper: have the FIFOs of an exec."""
        await self._call(side.EXPECT, (exec_id.encode(), b"1" if terminal else b"", b"1" if stdin else b""))

    async def drain(self, exec_id: str = "") -> None:
        """To a keeper: returns when all output of a process that has ended is where it belongs."""
        drained = self._drained.setdefault(exec_id, asyncio.Event())
        try:
            await self._call(side.DRAIN, (exec_id.encode(),))
            await drained.wait()
        finally:
            self._drained.pop(exec_id, None)
        if self.closed:
            raise Unavailable("the keeper is gone")

    async def reclaim(self) -> list[socket.socket]:
        """Take back the connections that wait for the removal."""
        await self._call(side.RECLAIM, ())
        returned, self._returned = self._returned, []
        return returned

    async def _call(self, kind: int, fields: Sequence[bytes], client: socket.socket | None = None) -> None:
        if self.closed:
            raise Unavailable("the shim is gone")
        self._seq += 1
        seq = self._seq
        call = _Call(side.pack(kind, seq, *fields), client, self._loop.create_future())
        self._waiting[seq] = call
        try:
            self._send(seq)
            await call.answer
        finally:
            self._waiting.pop(seq, None)

    def _send(self, seq: int) -> None:
        """Again a little later when there is no room; a connection that is broken is `_readable`'s to make again."""
        call = self._waiting.get(seq)
        if call is None or call.answer.done():
            return
        try:
            if call.client is None:
                self._connection.send(call.packet)
            else:
                socket.send_fds(self._connection, [call.packet], [call.client.fileno()])
        except BlockingIOError:
            self._loop.call_later(_ROOM_SECONDS, self._send, seq)
        except OSError as err:
            if err.errno not in _BROKEN:
                call.answer.set_exception(Unavailable(f"the shim is gone: {err.strerror}"))

    def _readable(self) -> None:
        try:
            packet, rights, _flags, _from = socket.recv_fds(
                self._connection, side.MAX_PACKET, 4, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            packet, rights = b"", []
        if not packet:
            self._again()
            return
        kind, seq, fields = side.unpack(packet)
        if kind == side.RETURN and rights:
            self._returned.append(socket.socket(fileno=rights.pop(0)))
        elif kind == side.EXITED:
            self.on_exited(fields[0].decode(), *map(int, fields[1:]))
        elif kind == side.INPUT_ENDED:
            self.on_input_end(fields[0].decode())
        elif kind == side.DRAINED and (drained := self._drained.get(fields[0].decode())) is not None:
            drained.set()
        for extra in rights:
            os.close(extra)
        call = self._waiting.get(seq)
        if call is None or call.answer.done():
            return
        if kind == side.OK:
            call.answer.set_result(None)
        elif kind == side.ERROR:
            call.answer.set_exception(_failure(fields[0].decode("utf-8", "replace")))

    def _again(self) -> None:
        """The connection has ended: where the other side still listens it is made again, otherwise that has gone."""
        try:
            connection = _connected(self._path)
        except OSError:
            self.close()
            self.on_lost()
            return
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()
        self._connection = connection
        self._loop.add_reader(connection.fileno(), self._readable)
        for seq in list(self._waiting):
            self._send(seq)

    @property
    def closed(self) -> bool:
        """Whether the shim has gone, or `close` was called."""
        return self._connection.fileno() < 0

    def close(self) -> None:
        """Let go; whoever waits gets Unavailable. May be called twice."""
        if self.closed:
            return
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()
        for call in self._waiting.values():
            if not call.answer.done():
                call.answer.set_exception(Unavailable("the shim is gone"))
        for drained in self._drained.values():
            drained.set()
        for returned in self._returned:
            returned.close()


def _connected(path: str) -> socket.socket:
    connection = socket.socket(
        socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    )
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _failure(text: str) -> HakoError:
    return NotFound(text) if "has ended" in text or "not found" in text else HakoError(text)
