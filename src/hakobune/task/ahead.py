"""A worker that is forked before anybody knows for what: it gets the creation over its channel. Imports: task, linux."""

from __future__ import annotations

from hakobune.linux import sockets
from hakobune.linux.pages import WrittenPages
from hakobune.linux.sockets import Socket
from hakobune.oci.init import messages
from hakobune.oci.init.child import Streams
from hakobune.task import runtimes, worker
from hakobune.task.runtime import Creation


class Ahead:
    """The end of its channel ends it."""

    def __init__(self, written: WrittenPages) -> None:
        """Fork it; `written` are the pages of workers. Raises OSError."""
        self.pid, self.channel = worker.start(lambda near: _obey(near, written))

    def begin(self, creation: Creation, streams: Streams | None) -> None:
        """It is for this one. Raises OSError when it has ended, or the message is too long for it."""
        packet = creation.pack()
        if len(packet) > messages.MAX_MESSAGE:
            raise OSError("a creation with that many mounts gets a worker of its own")
        if streams is None:
            self.channel.send(packet)
        else:
            sockets.send(self.channel, packet, streams.stdin, streams.stdout, streams.stderr)

    def drop(self) -> None:
        """It is for nobody."""
        self.channel.close()


def _obey(near: Socket, written: WrittenPages) -> None:
    written.copy_ahead()
    packet, fds = sockets.receive(near, messages.MAX_MESSAGE, 3)
    if packet:
        creation = Creation.unpack(packet)
        runtimes.of(creation.program).create(creation, near, Streams(*fds) if fds else None, written.learn)
