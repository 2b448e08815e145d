"""The edge of the task service: ttrpc requests in, calls of `task.service`, answers out.

Serves containerd.task.v2.Task and .v3.Task, whose messages are the same (api/runtime/task). Field
numbers stand beside each use; beside it our own service, OWN. Nothing here decides anything. Imports: os, socket, wire, task.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from hakobune.errors import FailedPrecondition, HakoError, InvalidArgument, Unimplemented
from hakobune.linux import sockets
from hakobune.linux.sockets import Socket
from hakobune.spec.mount import Mount
from hakobune.task.duplex import Duplex
from hakobune.task.lifecycle import Life
from hakobune.task.loop import IN, Loop, complain
from hakobune.task.luggage import Luggage, Packed, data, text
from hakobune.task.process import Reply, Spec
from hakobune.task.runtime import Program
from hakobune.task.service import Service
from hakobune.wire import pb, ttrpc

SERVICES = frozenset(("containerd.task.v2.Task", "containerd.task.v3.Task"))
OWN = "hakobune.shim.v1.Shim"
RUNC_OPTIONS = "containerd.runc.v1.Options"  # their type's name
_SECOND = 1_000_000_000


def timestamp(nanoseconds: int) -> bytes:
    """google.protobuf.Timestamp."""
    return pb.field(1, nanoseconds // _SECOND) + pb.field(2, nanoseconds % _SECOND)


def any_value(type_url: str, value: bytes) -> bytes:
    """google.protobuf.Any."""
    return pb.field(1, type_url) + pb.field(2, value)


def read_mounts(values: list[int | bytes]) -> list[Mount]:
    """containerd.types.Mount: type 1, source 2, target 3, options 4."""
    mounts = []
    for raw in values:
        fields = pb.decode(raw if isinstance(raw, bytes) else b"")
        options = tuple(o.decode() for o in fields.get(4, []) if isinstance(o, bytes))
        mounts.append(Mount(pb.text(fields, 1), pb.text(fields, 2), pb.text(fields, 3), options))
    return mounts


def write_mount(mount: Mount) -> bytes:
    """The inverse of one entry of `read_mounts`."""
    head = pb.field(1, mount.type) + pb.field(2, mount.source) + pb.field(3, mount.target)
    return head + b"".join(pb.message(4, option.encode()) for option in mount.options)


def _program(options: bytes) -> Program:
    """The runtime that a request's options name; other kinds of options say nothing about it.

    containerd.runc.v1.Options: binary_name 6, root 7, systemd_cgroup 9 (api/types/runc/options).
    """
    wrapped = pb.decode(options)  # type_url 1, value 2
    if not pb.text(wrapped, 1).endswith(RUNC_OPTIONS):
        return Program()
    fields = pb.decode(pb.blob(wrapped, 2))
    return Program(pb.text(fields, 6), pb.text(fields, 7), bool(pb.number(fields, 9)))


class Call:
    """One request under way; answered once."""

    __slots__ = ("connection", "fields", "stream")

    def __init__(self, connection: Duplex, stream: int, fields: pb.Fields) -> None:
        self.connection = connection
        self.stream = stream
        self.fields = fields

    @property
    def exec_id(self) -> str:
        """Field 2 of every request that names a process."""
        return pb.text(self.fields, 2)

    def done(self, payload: bytes = b"") -> None:
        """Answer with a message."""
        self._send(ttrpc.Response(payload))

    def failed(self, err: HakoError) -> None:
        """Answer with an error."""
        self._send(ttrpc.Response(code=err.code, message=str(err)))

    def _send(self, response: ttrpc.Response) -> None:
        frame = ttrpc.Frame(self.stream, ttrpc.RESPONSE, 0, ttrpc.pack_response(response))
        self.connection.write(ttrpc.pack(frame))


class Answer:
    """What a Wait waits for: called with the end, it answers. A class, so that it can be found and packed."""

    __slots__ = ("call", "connection", "stream")

    def __init__(self, connection: Duplex, stream: int) -> None:
        self.connection = connection
        self.stream = stream
        self.call = Call(connection, stream, {})

    def __call__(self, life: Life) -> None:
        self.call.done(pb.field(1, life.exit_status) + pb.message(2, timestamp(life.exited_at)))


class TaskServer:
    """Accepts managers' connections on `listener`. `shutdown` ends the shim."""

    def __init__(self, loop: Loop, service: Service, listener: Socket, shutdown: Callable[[], None]) -> None:
        self._loop = loop
        self._service = service
        self._shutdown = shutdown
        self._connections: dict[Duplex, ttrpc.Decoder] = {}
        self._listener = listener
        self.on_renew: Callable[[Call, str, str], None] = self._no_renewal
        self.renewing: Call | None = None  # waits for the code that goes on
        self._own: dict[str, Callable[[Call], None]] = {"Renew": self._renew}
        self._verbs: dict[str, Callable[[Call], None]] = {
            "Create": self._create,
            "Start": self._start,
            "Exec": self._exec,
            "Kill": self._kill,
            "Delete": self._delete,
            "Wait": self._wait,
            "State": self._state,
            "Pids": self._pids,
            "Pause": self._pause,
            "Resume": self._resume,
            "ResizePty": self._resize,
            "CloseIO": self._close_io,
            "Update": self._update,
            "Stats": self._stats,
            "Connect": self._connect,
            "Shutdown": self._stop,
        }
        listener.setblocking(False)
        loop.watch(listener.fileno(), IN, lambda _events: self._accept(listener))

    def _accept(self, listener: Socket) -> None:
        try:
            connection = sockets.accept(listener, sockets.STREAM)
        except OSError as err:
            complain("accept a manager", err)
            return
        self._admit(connection.detach(), ttrpc.Decoder())

    def _admit(self, fd: int, decoder: ttrpc.Decoder) -> Duplex:
        duplex = Duplex(
            self._loop,
            fd,
            on_data=lambda data: self.received(duplex, decoder, data),
            on_end=lambda: self._gone(duplex),
            on_gone=lambda: self._forget(duplex),
        )
        self._connections[duplex] = decoder
        return duplex

    def _forget(self, duplex: Duplex) -> None:
        self._connections.pop(duplex, None)

    def _gone(self, duplex: Duplex) -> None:
        self._forget(duplex)
        duplex.close()

    def pack(self, luggage: Luggage) -> Packed:
        """The listener, the connections, and the calls of Wait that are pending on them."""
        places = {duplex: place for place, duplex in enumerate(self._connections)}
        waits = [
            [places[waiter.connection], waiter.stream, member.exec_id]
            for member in self._service.members
            for waiter in member.waiters
            if isinstance(waiter, Answer) and waiter.connection in places
        ]
        connections = [
            {"duplex": duplex.pack(luggage), "read": text(decoder.rest)}
            for duplex, decoder in self._connections.items()
        ]
        call = self.renewing
        renewing = (
            [places[call.connection], call.stream] if call is not None and call.connection in places else None
        )
        return {
            "listener": luggage.pack(self._listener.fileno()), "connections": connections, "waits": waits,
            "renewing": renewing,
        }  # fmt: skip

    def unpack(self, packed: Packed, luggage: Luggage) -> None:
        """Go on where another process stood, after its service has been unpacked."""
        made = []
        for one in packed["connections"]:
            decoder = ttrpc.Decoder(data(one["read"]))
            made.append(
                self._admit(luggage.take(one["duplex"]["fd"]), decoder).unpack(one["duplex"], luggage)
            )
        for place, stream, exec_id in packed["waits"]:
            self._service.wait(exec_id, Answer(made[place], stream))
        if renewing := packed.get("renewing"):
            place, stream = renewing
            self.renewing = Call(made[place], stream, {})

    def received(self, duplex: Duplex, decoder: ttrpc.Decoder, received: bytes) -> None:
        """Bytes of a manager's connection."""
        try:
            frames = decoder.feed(received)
        except ValueError as err:
            complain("a manager's frame", err)
            self._gone(duplex)
            return
        for frame in frames:
            if frame.type == ttrpc.REQUEST:
                self._dispatch(duplex, frame)

    def _dispatch(self, duplex: Duplex, frame: ttrpc.Frame) -> None:
        call = Call(duplex, frame.stream, {})
        try:
            request = ttrpc.unpack_request(frame.data)
            verbs = self._own if request.service == OWN else self._verbs
            verb = verbs.get(request.method)
            if request.service not in (*SERVICES, OWN) or verb is None:
                raise Unimplemented(f"{request.service}/{request.method} is not served by this shim")
            call.fields = pb.decode(request.payload)
            verb(call)
        except HakoError as err:
            call.failed(err)
        except ValueError as err:
            call.failed(InvalidArgument(str(err)))
        except OSError as err:
            complain("a request", err)
            call.failed(HakoError(f"{err.filename or 'system call'}: {err.strerror}"))
        except Exception as err:
            complain("a request", err)
            call.failed(HakoError(f"{type(err).__name__}: {err}"))

    # --- verbs, with their field numbers ---

    def _create(self, call: Call) -> None:
        fields = call.fields  # bundle 2, rootfs 3, terminal 4, stdin 5, stdout 6, stderr 7, options 10 (Any)
        if pb.text(fields, 1) != self._service.id:
            raise InvalidArgument(f"this shim holds {self._service.id!r}, not {pb.text(fields, 1)!r}")
        self._service.bundle = pb.text(fields, 2) or self._service.bundle
        spec = Spec(
            "", bool(pb.number(fields, 4)), pb.text(fields, 5), pb.text(fields, 6), pb.text(fields, 7)
        )
        reply = Reply(lambda pid: call.done(pb.field(1, pid)), call.failed)
        self._service.create(spec, read_mounts(fields.get(3, [])), _program(pb.blob(fields, 10)), reply)

    def _start(self, call: Call) -> None:
        self._service.start(call.exec_id, Reply(lambda pid: call.done(pb.field(1, pid)), call.failed))

    def _exec(self, call: Call) -> None:
        fields = call.fields  # exec_id 2, terminal 3, stdin 4, stdout 5, stderr 6, spec 7 (Any)
        process = pb.blob(pb.decode(pb.blob(fields, 7)), 2)
        self._service.exec(
            Spec(call.exec_id, bool(pb.number(fields, 3)), pb.text(fields, 4), pb.text(fields, 5),
                 pb.text(fields, 6), process)
        )  # fmt: skip
        call.done()

    def _kill(self, call: Call) -> None:
        self._service.kill(call.exec_id, pb.number(call.fields, 3), everyone=bool(pb.number(call.fields, 4)))
        call.done()

    def _delete(self, call: Call) -> None:
        life = self._service.delete(call.exec_id)
        exited = pb.message(3, timestamp(life.exited_at)) if life.exited_at else b""
        answer = pb.field(1, life.pid) + pb.field(2, life.exit_status) + exited
        self._service.after_stop(lambda: call.done(answer))

    def _wait(self, call: Call) -> None:
        self._service.wait(call.exec_id, Answer(call.connection, call.stream))

    def _state(self, call: Call) -> None:
        member = self._service.member(call.exec_id)
        life, spec = member.life, member.spec
        parts = [
            pb.field(1, self._service.id), pb.field(2, self._service.bundle), pb.field(3, life.pid),
            pb.field(4, life.status), pb.field(5, spec.stdin), pb.field(6, spec.stdout),
            pb.field(7, spec.stderr), pb.field(8, spec.terminal), pb.field(9, life.exit_status),
        ]  # fmt: skip
        if life.exited_at:
            parts.append(pb.message(10, timestamp(life.exited_at)))
        parts.append(pb.field(11, member.exec_id))
        call.done(b"".join(parts))

    def _pids(self, call: Call) -> None:
        call.done(b"".join(pb.message(1, pb.field(1, pid)) for pid in self._service.pids()))

    def _pause(self, call: Call) -> None:
        self._service.pause()
        call.done()

    def _resume(self, call: Call) -> None:
        self._service.resume()
        call.done()

    def _resize(self, call: Call) -> None:
        self._service.resize(call.exec_id, pb.number(call.fields, 4), pb.number(call.fields, 3))
        call.done()

    def _close_io(self, call: Call) -> None:
        if pb.number(call.fields, 3):
            self._service.close_stdin(call.exec_id)
        call.done()

    def _update(self, call: Call) -> None:
        resources = pb.blob(pb.decode(pb.blob(call.fields, 2)), 2)
        self._service.update(resources, Reply(call.done, call.failed))

    def _stats(self, call: Call) -> None:
        self._service.stats(
            Reply(lambda kind, value: call.done(pb.message(1, any_value(kind, value))), call.failed)
        )

    def _connect(self, call: Call) -> None:
        init = self._service.init
        pid = init.life.pid if init is not None else 0
        call.done(pb.field(1, os.getpid()) + pb.field(2, pid) + pb.field(3, "v2"))

    def _renew(self, call: Call) -> None:
        if self.renewing is not None:
            raise FailedPrecondition("the shim is being renewed already")
        self.on_renew(call, pb.text(call.fields, 1), pb.text(call.fields, 2))
        self.renewing = call

    @staticmethod
    def _no_renewal(_call: Call, _python: str, _way: str) -> None:
        raise Unimplemented("this shim cannot be renewed")

    def _stop(self, call: Call) -> None:
        if self._service.init is None or pb.number(call.fields, 2):
            self._shutdown()  # first: who has the answer may have the path taken by a new shim
        call.done()
