"""The zygote plays a shim's life a few times before it forks any.

CPython 3.11 rewrites a function's code while it runs it for the first times (PEP 659) and fills its type
caches; done after the fork, each shim would pay for that with pages of its own. The play is real code with a
Create that fails for want of a config: requests decoded, a worker forked, its failure heard and told.
Imports: task, shim, wire, linux.sockets.
"""

from __future__ import annotations

from hakobune.linux import sockets
from hakobune.shim.rpc import TaskServer
from hakobune.task.duplex import Duplex
from hakobune.task.loop import Loop
from hakobune.task.process import Member
from hakobune.task.service import Service
from hakobune.wire import pb, ttrpc

ROUNDS = 12  # code is specialised from its eighth run on
_METHODS = ("Connect", "State", "Create", "Wait", "Kill", "Start", "Pids", "Delete")


class _Nobody:
    """An observer who tells nobody."""

    def event(self, topic: str, member: Member) -> None: ...
    def engine_present(self) -> bool:
        return False

    def answer(self, member: Member) -> None: ...


def rehearse() -> None:
    """Play; afterwards signals have no handler of a loop that lives. Raises OSError."""
    for _ in range(ROUNDS):
        _play()


def _play() -> None:
    loop = Loop()
    loop.on_terminate = loop.stop
    service = Service(loop, "rehearsal", "/nonexistent", _Nobody())
    listener = sockets.unix(sockets.STREAM)
    server = TaskServer(loop, service, listener, loop.stop)
    loop.unwatch(listener.fileno())
    ours, theirs = sockets.pair(sockets.STREAM)
    shim = Duplex(loop, theirs.detach(), on_data=lambda data: server.received(shim, decoder, data))
    decoder, answers, answered = ttrpc.Decoder(), ttrpc.Decoder(), 0

    def count(data: bytes) -> None:
        nonlocal answered
        for frame in answers.feed(data):
            ttrpc.unpack_response(frame.data)
            answered += 1
        if answered == len(_METHODS):
            loop.stop()

    client = Duplex(loop, ours.detach(), on_data=count, on_end=loop.stop)
    for number, method in enumerate(_METHODS):
        payload = pb.field(1, "rehearsal") + pb.field(2, "" if method != "Create" else "/nonexistent")
        request = ttrpc.pack_request(ttrpc.Request("containerd.task.v3.Task", method, payload))
        client.write(ttrpc.pack(ttrpc.Frame(2 * number + 1, ttrpc.REQUEST, 0, request)))
    timer = loop.later(5.0, loop.stop)
    loop.run()
    timer.cancel()
    client.close()
    shim.close()
    listener.close()
    loop.close()
