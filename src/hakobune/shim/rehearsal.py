"""The zygote plays a shim's life a few times before it forks any.

CPython 3.11 rewrites a function's code while it runs it for the first times (PEP 659) and fills its type
caches; done after the fork, each shim would pay for that with pages of its own. The play is real code, from
the first request to Delete, with a stand-in for the container: a plain fork that says READY and ends.
Imports: os; task, shim, oci.init, wire, linux.
"""

from __future__ import annotations

import os

from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import Internal
from hakobune.linux import sockets, syscalls
from hakobune.oci.init import messages, parent
from hakobune.shim.publish import Publisher, encode
from hakobune.shim.rpc import TaskServer
from hakobune.task.duplex import Duplex
from hakobune.task.loop import Loop
from hakobune.task.process import Member
from hakobune.task.service import Service
from hakobune.wire import pb, ttrpc

ROUNDS = 12  # code is specialised from its eighth run on
SECONDS = 5.0
_NAME = pb.field(1, "rehearsal")


class _Actor:
    """A shim without an address of its own, played on `stage`, a directory."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.loop = Loop()
        self.loop.on_terminate = self.loop.stop
        self._publisher = Publisher(self.loop, "", "rehearsal")
        self.service = Service(self.loop, "rehearsal", stage, self)
        self.service.children = 0  # the shims of a zygote that was renewed are in sessions of their own
        self._listener = sockets.unix(sockets.STREAM)
        self._server = TaskServer(self.loop, self.service, self._listener, self.loop.stop)
        self.loop.unwatch(self._listener.fileno())
        ours, theirs = sockets.pair(sockets.STREAM)
        decoder = ttrpc.Decoder()
        self._shim = Duplex(
            self.loop, theirs.detach(), on_data=lambda data: self._server.received(self._shim, decoder, data)
        )
        self._answers = ttrpc.Decoder()
        self._client = Duplex(self.loop, ours.detach(), on_data=self._answered)
        self._script = self._lines()

    # the observer's part

    def event(self, topic: str, member: Member) -> None:
        self._publisher.publish(topic, *encode(topic, self.service, member))

    def engine_present(self) -> bool:
        return False

    def answer(self, member: Member) -> None: ...

    # the manager's part

    def _lines(self) -> list[tuple[str, bytes]]:
        log = pb.field(6, f"json-file://{self.stage}/log")
        create = _NAME + pb.field(2, self.stage) + log
        return [
            ("Connect", _NAME), ("Create", create), ("State", _NAME), ("Pids", _NAME), ("Start", _NAME),
            ("Wait", _NAME), ("State", _NAME), ("Delete", _NAME), ("State", _NAME),
        ]  # fmt: skip

    def _answered(self, data: bytes) -> None:
        for frame in self._answers.feed(data):
            ttrpc.unpack_response(frame.data)
            self._next()

    def _next(self) -> None:
        if not self._script:
            self.loop.stop()
            return
        method, payload = self._script.pop(0)
        request = ttrpc.pack_request(ttrpc.Request("containerd.task.v3.Task", method, payload))
        self._client.write(ttrpc.pack(ttrpc.Frame(1, ttrpc.REQUEST, 0, request)))

    def play(self) -> None:
        """One life. Raises Internal when it does not come to its end."""
        self.loop.later(SECONDS, self.loop.stop)
        self._next()
        self.loop.run()
        self._client.close()
        self._shim.close()
        self._listener.close()
        self.loop.close()
        if self._script:
            raise Internal(f"the rehearsal stopped before {self._script[0][0]}")


def _stand_in(request: parent.Request, _container_id: str) -> tuple[int, None, None]:
    """In a worker: what parent.create says and makes, without a container."""
    messages.say_cgroup(request.near, "/hakobune-rehearsal/none", "0\n")
    pid = syscalls.clone3(syscalls.CLONE_PARENT)
    if pid == 0:
        messages.say_ready(request.near, [])
        request.gate()
        if request.streams is not None:
            os.write(request.streams.stdout, b"a line\n")
        os._exit(0)
    return pid, None, None


def _no_watch(_group: Cgroup) -> tuple[int, int]:
    """There is no such group."""
    return -1, 0


def rehearse(stage: str) -> None:
    """Play in the directory `stage`, which is made and removed. Raises Internal, OSError."""
    os.mkdir(stage, 0o700)
    create, watch = parent.create, Cgroup.oom_watch
    parent.create = _stand_in  # type: ignore[assignment]
    Cgroup.oom_watch = _no_watch  # type: ignore[assignment,method-assign]
    try:
        for _ in range(ROUNDS):
            _Actor(stage).play()
    finally:
        parent.create = create
        Cgroup.oom_watch = watch  # type: ignore[method-assign]
        for name in os.listdir(stage):
            os.unlink(os.path.join(stage, name))
        os.rmdir(stage)
