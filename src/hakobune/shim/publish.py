"""Events to the manager: each is sent by ttrpc until it was taken, in order, over daemons' deaths.

The manager's address is a path that may have nobody listening for a while. What waits is kept in
memory, LIMIT events at most; the exit itself is on disk in any case. Imports: socket, wire, task.
"""

from __future__ import annotations

import time
from collections import deque

from hakobune.linux import sockets
from hakobune.shim.rpc import any_value, timestamp, write_mount
from hakobune.task.duplex import Duplex
from hakobune.task.loop import Loop, complain
from hakobune.task.luggage import Packed, data, text
from hakobune.task.process import Member
from hakobune.task.service import Service
from hakobune.wire import pb, ttrpc

LIMIT = 2048
RETRY_SECONDS = 0.5
SERVICE = "containerd.services.events.ttrpc.v1.Events"


class Publisher:
    """Owns at most one connection to `address`."""

    def __init__(self, loop: Loop, address: str, namespace: str) -> None:
        self._loop = loop
        self._address = address
        self._namespace = namespace
        self._waiting: deque[bytes] = deque(maxlen=LIMIT)
        self._connection: Duplex | None = None
        self._stream = 1
        self._in_flight = False
        self._retrying = False
        self._last = False

    @property
    def idle(self) -> bool:
        """Everything has been taken."""
        return not self._waiting

    def last(self) -> None:
        """Nothing comes any more: an address that has been taken away is not waited for, a manager that died is."""
        self._last = True
        self._send()

    @property
    def movable(self) -> bool:
        """Whether no event is on its way: it is not known of one whether it has been taken."""
        return not self._in_flight

    def pack(self) -> Packed:
        """The events that nobody has taken; the connection is made anew."""
        return {"waiting": [text(event) for event in self._waiting]}

    def unpack(self, packed: Packed) -> None:
        """Go on where another process stood, from the loop's first turn: until then that one may go on itself."""
        self._waiting.extend(data(event) for event in packed["waiting"])
        self._loop.later(0, self._send)

    @property
    def fd(self) -> int:
        """Of the connection; -1 without one."""
        return self._connection.fd if self._connection is not None else -1

    def publish(self, topic: str, type_url: str, value: bytes) -> None:
        """Queue one event and send what can be sent. Without an address events go nowhere."""
        if not self._address:
            return
        envelope = b"".join(
            (
                pb.message(1, timestamp(time.time_ns())),
                pb.field(2, self._namespace),
                pb.field(3, topic),
                pb.message(4, any_value(type_url, value)),
            )
        )
        self._waiting.append(pb.message(1, envelope))
        self._send()

    def _send(self) -> None:
        if self._in_flight or not self._waiting:
            return
        if self._connection is None and not self._dial():
            return
        assert self._connection is not None
        request = ttrpc.Request(SERVICE, "Forward", self._waiting[0], 10_000_000_000)
        frame = ttrpc.Frame(self._stream, ttrpc.REQUEST, 0, ttrpc.pack_request(request))
        self._stream += 2
        self._in_flight = True
        self._connection.write(ttrpc.pack(frame))

    def _dial(self) -> bool:
        connection = sockets.unix(sockets.STREAM)
        connection.setblocking(False)
        try:
            connection.connect(self._address)
        except OSError as err:
            connection.close()
            if self._last and isinstance(err, FileNotFoundError):
                self._waiting.clear()
            else:
                self._retry()
            return False
        decoder = ttrpc.Decoder()
        self._connection = Duplex(
            self._loop,
            connection.detach(),
            on_data=lambda received: self._answered(decoder, received),
            on_end=self._lost,
            on_gone=self._lost,
        )
        return True

    def _answered(self, decoder: ttrpc.Decoder, received: bytes) -> None:
        for frame in decoder.feed(received):
            response = ttrpc.unpack_response(frame.data)
            if response.code:
                complain("publish", RuntimeError(response.message))
            self._in_flight = False
            if self._waiting:
                self._waiting.popleft()
        self._send()

    def _lost(self) -> None:
        connection, self._connection = self._connection, None
        self._in_flight = False
        if connection is not None:
            connection.close()
        if self._waiting:
            self._retry()

    def _retry(self) -> None:
        if not self._retrying:
            self._retrying = True
            self._loop.later(RETRY_SECONDS, self._again)

    def _again(self) -> None:
        self._retrying = False
        self._send()


def encode(topic: str, service: Service, member: Member) -> tuple[str, bytes]:
    """(type, message) of a task event (api/events/task.proto); field numbers in the order of the calls."""
    life, name = member.life, pb.field(1, service.id)
    if topic == "/tasks/create":
        spec = member.spec
        io = (
            pb.field(1, spec.stdin)
            + pb.field(2, spec.stdout)
            + pb.field(3, spec.stderr)
            + pb.field(4, spec.terminal)
        )
        mounts = b"".join(pb.message(3, write_mount(mount)) for mount in service.rootfs)
        body = pb.field(2, service.bundle) + mounts + pb.message(4, io) + pb.field(6, life.pid)
        return "containerd.events.TaskCreate", name + body
    if topic == "/tasks/start":
        return "containerd.events.TaskStart", name + pb.field(2, life.pid)
    if topic == "/tasks/exit":
        body = (
            pb.field(2, member.exec_id or service.id) + pb.field(3, life.pid) + pb.field(4, life.exit_status)
        )
        return "containerd.events.TaskExit", name + body + pb.message(5, timestamp(life.exited_at))
    if topic == "/tasks/delete":
        body = (
            pb.field(2, life.pid) + pb.field(3, life.exit_status) + pb.message(4, timestamp(life.exited_at))
        )
        return "containerd.events.TaskDelete", name + body + pb.field(5, member.exec_id)
    if topic == "/tasks/exec-added":
        return "containerd.events.TaskExecAdded", name + pb.field(2, member.exec_id)
    if topic == "/tasks/exec-started":
        return "containerd.events.TaskExecStarted", name + pb.field(2, member.exec_id) + pb.field(3, life.pid)
    kinds = {"/tasks/oom": "TaskOOM", "/tasks/paused": "TaskPaused", "/tasks/resumed": "TaskResumed"}
    return f"containerd.events.{kinds[topic]}", name
