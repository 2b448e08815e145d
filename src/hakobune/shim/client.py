"""The engine's end of a shim's side socket: clients' connections go down here, and come back for a removal.

A connection of this class is also a statement: while it stands, the shim waits for `release` before it
answers clients about an end. Imports: asyncio, socket, errors, wire.side.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence

from hakobune.errors import HakoError, NotFound, Unavailable
from hakobune.wire import side


class Side:
    """One engine's connection to one shim. All methods belong to the loop's thread.

    Every method raises HakoError with the shim's own text, Unavailable when the shim is gone.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._returned: list[socket.socket] = []
        self._seq = 0
        self._drained: dict[str, asyncio.Event] = {}
        self.on_input_end: Callable[[str], None] = lambda _exec_id: None  # a keeper's word
        self.on_lost: Callable[[], None] = lambda: None  # the other side has gone, not we
        self._loop.add_reader(connection.fileno(), self._readable)

    @classmethod
    async def connect(cls, path: str) -> Side:
        """Connect to the side socket at `path`. Raises Unavailable."""
        connection = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        try:
            connection.connect(path)
        except OSError as err:
            connection.close()
            raise Unavailable(f"shim at {path}: {err.strerror}") from err
        return cls(connection)

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
        self._seq += 1
        seq = self._seq
        answer: asyncio.Future[None] = self._loop.create_future()
        self._waiting[seq] = answer
        try:
            await self._send(side.pack(kind, seq, *fields), client)
            await answer
        finally:
            self._waiting.pop(seq, None)

    async def _send(self, packet: bytes, client: socket.socket | None) -> None:
        while True:
            try:
                if client is None:
                    self._connection.send(packet)
                else:
                    socket.send_fds(self._connection, [packet], [client.fileno()])
                return
            except BlockingIOError:
                await asyncio.sleep(0.001)
            except OSError as err:
                raise Unavailable(f"the shim is gone: {err.strerror}") from err

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
            self.close()
            self.on_lost()
            return
        kind, seq, fields = side.unpack(packet)
        if kind == side.RETURN and rights:
            self._returned.append(socket.socket(fileno=rights.pop(0)))
        elif kind == side.INPUT_ENDED:
            self.on_input_end(fields[0].decode())
        elif kind == side.DRAINED and (drained := self._drained.get(fields[0].decode())) is not None:
            drained.set()
        for extra in rights:
            os.close(extra)
        answer = self._waiting.get(seq)
        if answer is None or answer.done():
            return
        if kind == side.OK:
            answer.set_result(None)
        elif kind == side.ERROR:
            answer.set_exception(_failure(fields[0].decode("utf-8", "replace")))

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
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable("the shim is gone"))
        for drained in self._drained.values():
            drained.set()
        for returned in self._returned:
            returned.close()


def _failure(text: str) -> HakoError:
    return NotFound(text) if "has ended" in text or "not found" in text else HakoError(text)
