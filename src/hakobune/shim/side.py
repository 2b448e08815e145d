"""The side socket's server: engines hand clients' connections in (codec: wire.side).

The presence of an engine's connection is a fact the shim acts on: while one is there, clients learn
of an end only after the engine has recorded it; when it goes, the shim answers by itself. Waits for a
container's *removal* are kept for the engine that will do the removing (RECLAIM), and answered here
only when no engine came for a while. Imports: socket, os, task.*, wire.side.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable
from typing import Protocol

from hakobune.errors import HakoError, InvalidArgument, NotFound
from hakobune.linux import sockets
from hakobune.linux.sockets import Socket
from hakobune.task.duplex import Duplex
from hakobune.task.lifecycle import Life
from hakobune.task.loop import GONE, IN, Loop, complain
from hakobune.task.luggage import Luggage, Packed
from hakobune.task.process import Member
from hakobune.wire import side

REMOVAL_GRACE_SECONDS = 10.0
_REMEMBERED = 16  # clients that an engine may hand in a second time


Verb = Callable[[Socket, list[bytes], int], None]


class Wait:
    """One handed-over `wait`: its connection and what it waits for."""

    __slots__ = ("condition", "duplex")

    def __init__(self, condition: str, duplex: Duplex) -> None:
        self.condition = condition
        self.duplex = duplex

    def answer(self, life: Life) -> None:
        """The body, as the one chunk of a chunked response, and its end."""
        body = b'{"StatusCode":%d}\n' % life.exit_status
        self.duplex.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        self.duplex.close_after()


class Processes(Protocol):
    """Whose streams are given out: task.service, or a keeper."""

    @property
    def init(self) -> Member | None: ...
    def member(self, exec_id: str = "") -> Member: ...
    def release(self, member: Member) -> None: ...
    def engine_gone(self) -> None: ...


class SideServer:
    """Listens at one path for engines of our own user."""

    def __init__(self, loop: Loop, service: Processes, follow: Callable[[int, list[bytes]], None]) -> None:
        self._loop = loop
        self._service = service
        self._follow = follow
        self._listener: Socket | None = None
        self._path = ""
        self._engines: list[Socket] = []
        self._waits: list[Wait] = []
        self._had: deque[int] = deque(maxlen=_REMEMBERED)
        self.verbs: dict[int, Verb] = {
            side.ATTACH: self._attach,
            side.WAIT: self._wait,
            side.LOGS: self._logs,
            side.RELEASE: self._release,
            side.RECLAIM: self._reclaim,
        }

    @property
    def engine_present(self) -> bool:
        """Whether an engine is connected."""
        return bool(self._engines)

    def listen(self, path: str) -> None:
        """Bind (0600) and accept. Raises OSError."""
        listener = sockets.unix(sockets.SEQPACKET)
        listener.setblocking(False)
        if os.path.lexists(path):
            os.unlink(path)
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(8)
        self._listen(listener, path)

    def _listen(self, listener: Socket, path: str) -> None:
        self._listener, self._path = listener, path
        self._loop.watch(listener.fileno(), IN, lambda _events: self._accept(listener))

    def pack(self, luggage: Luggage) -> Packed:
        """The listener, the engines, the clients that wait."""
        listener = self._listener.fileno() if self._listener is not None else -1
        return {
            "listener": luggage.pack(listener), "path": self._path,
            "engines": [luggage.pack(engine.fileno()) for engine in self._engines],
            "waits": [[wait.condition, wait.duplex.pack(luggage)] for wait in self._waits],
        }  # fmt: skip

    def unpack(self, packed: Packed, luggage: Luggage) -> None:
        """Go on where another process stood."""
        if packed["listener"] >= 0:
            listener = sockets.adopt(luggage.take(packed["listener"]), sockets.SEQPACKET)
            listener.setblocking(False)
            self._listen(listener, packed["path"])
        for place in packed["engines"]:
            self._welcome(sockets.adopt(luggage.take(place), sockets.SEQPACKET))
        for condition, duplex in packed["waits"]:
            self._admit(condition, luggage.take(duplex["fd"])).unpack(duplex, luggage)

    def _accept(self, listener: Socket) -> None:
        try:
            engine = sockets.accept(listener, sockets.SEQPACKET)
        except OSError as err:  # it has gone already, or we have no descriptor left
            complain("accept an engine", err)
            return
        credentials = engine.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, 12)
        _pid, uid, _gid = struct.unpack("iII", credentials)
        if uid != os.geteuid():
            engine.close()
            return
        self._welcome(engine)

    def _welcome(self, engine: Socket) -> None:
        engine.setblocking(False)
        self._engines.append(engine)
        self._loop.watch(engine.fileno(), IN, lambda events: self._packet(engine, events))

    def _packet(self, engine: Socket, events: int) -> None:
        packet: bytes = b""
        rights: list[int] = []
        try:
            packet, rights = sockets.receive(engine, side.MAX_PACKET, 4)
        except BlockingIOError:
            if not events & GONE:
                return
        except OSError:
            pass
        if not packet:
            self._lose(engine)
            return
        for extra in rights[1:]:
            os.close(extra)
        self._serve(engine, packet, rights[0] if rights else -1)

    def tell(self, kind: int, *fields: bytes) -> None:
        """To every engine, unasked."""
        for engine in self._engines:
            try:
                engine.send(side.pack(kind, 0, *fields))
            except OSError as err:
                complain("tell the engine", err)

    def _lose(self, engine: Socket) -> None:
        self._loop.unwatch(engine.fileno())
        self._engines.remove(engine)
        engine.close()
        if not self._engines:
            self._service.engine_gone()

    def _serve(self, engine: Socket, packet: bytes, fd: int) -> None:
        seq = 0
        try:
            kind, seq, fields = side.unpack(packet)
            verb = self.verbs.get(kind)
            if verb is None:
                raise InvalidArgument(f"side message {kind} is unknown")
            if fd < 0:
                verb(engine, fields, fd)
            else:
                self._hand_in(verb, engine, fields, fd)
            answer = side.pack(side.OK, seq)
        except (HakoError, ValueError, IndexError, OSError) as err:
            if fd >= 0:
                os.close(fd)
            answer = side.pack(side.ERROR, seq, str(err).encode())
        try:
            engine.send(answer)
        except OSError as err:
            complain("answer the engine", err)

    def _hand_in(self, verb: Verb, engine: Socket, fields: list[bytes], fd: int) -> None:
        """A client, unless it came on a connection that broke before we could answer: then this is a copy of it."""
        client = os.fstat(fd).st_ino
        if client in self._had:
            os.close(fd)
            return
        verb(engine, fields, fd)
        self._had.append(client)

    # --- verbs ---

    def _attach(self, _engine: Socket, fields: list[bytes], fd: int) -> None:
        exec_id, flags, head, early, keys = fields
        _need(fd)
        member = self._service.member(exec_id.decode())
        if member.stdio is None or member.released:
            raise NotFound(f"the {member.life.kind} has ended")
        member.stdio.attach(fd, flags=int(flags), head=head, early=early, detach_keys=keys)

    def _wait(self, _engine: Socket, fields: list[bytes], fd: int) -> None:
        condition, head = fields
        _need(fd)
        init = self._service.member()
        self._admit(condition.decode(), fd).write(head)
        if init.released:
            self.answer(init)

    def _admit(self, condition: str, fd: int) -> Duplex:
        duplex = Duplex(
            self._loop, fd, on_data=lambda _data: None, on_end=lambda: self._hang_up(wait),
            on_gone=lambda: self._forget(wait),
        )  # fmt: skip
        wait = Wait(condition, duplex)
        self._waits.append(wait)
        return duplex

    def _forget(self, wait: Wait) -> None:
        if wait in self._waits:
            self._waits.remove(wait)

    def _hang_up(self, wait: Wait) -> None:
        self._forget(wait)
        wait.duplex.close()

    def _logs(self, _engine: Socket, fields: list[bytes], fd: int) -> None:
        _need(fd)
        self._follow(fd, fields)

    def _release(self, _engine: Socket, fields: list[bytes], _fd: int) -> None:
        self._service.release(self._service.member(fields[0].decode()))

    def _reclaim(self, engine: Socket, _fields: list[bytes], _fd: int) -> None:
        for wait in [wait for wait in self._waits if wait.condition == "removed"]:
            sockets.send(engine, side.pack(side.RETURN, 0), wait.duplex.fd)
            self._waits.remove(wait)
            wait.duplex.close()

    # --- called by the service ---

    def answer(self, member: Member) -> None:
        """The end of init may be told to those who wait for it."""
        if member.exec_id:
            return
        for wait in list(self._waits):
            if wait.condition != "removed":
                self._waits.remove(wait)
                wait.answer(member.life)
        if any(wait.condition == "removed" for wait in self._waits) and not self._engines:
            self._loop.later(REMOVAL_GRACE_SECONDS, lambda: self._answer_rest(member))

    def _answer_rest(self, member: Member) -> None:
        if self._engines:
            return  # one came back: the removal is in its hands
        waits, self._waits = self._waits, []
        for wait in waits:
            wait.answer(member.life)

    def close(self) -> None:
        """Stop listening and remove the path; what is being sent goes on."""
        if self._listener is not None:
            self._loop.unwatch(self._listener.fileno())
            self._listener.close()
            self._listener = None
            try:
                os.unlink(self._path)
            except OSError:
                pass  # the engine has taken it away already

    @property
    def idle(self) -> bool:
        """No client waits for anything any more."""
        return not self._waits


def _need(fd: int) -> None:
    if fd < 0:
        raise InvalidArgument("a connection has to travel with this message")
