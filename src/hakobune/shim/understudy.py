"""A fork of the zygote made ahead of time, which waits to be given a container: its shim from then on.

A fork, and the pages that it writes first, are half of what a shim's birth takes; nobody has to wait for
them here. The understudy has forked the worker of the first creation ahead as well. It knows nobody's name,
holds nothing but the end of one socket, and ends with that: with the zygote.
Imports: os; shim.bootstrap, task, linux.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from hakobune.linux import sockets
from hakobune.linux.sockets import Socket
from hakobune.shim import bootstrap, title
from hakobune.shim.bootstrap import Birth
from hakobune.shim.experience import Experience
from hakobune.task.ahead import Ahead

_MOST = 16 * 1024  # bytes of a birth


@dataclass(frozen=True, slots=True)
class Understudy:
    """The zygote's view of it."""

    pid: int
    channel: Socket

    def play(self, birth: Birth, listener: Socket) -> None:
        """Be the shim of that container. Raises OSError when it has died."""
        sockets.send(self.channel, "\0".join((*birth.words, birth.zygote)).encode(), listener.fileno())
        self.channel.close()

    def dismiss(self) -> None:
        """Nobody needs it; returns when it has ended."""
        self.channel.close()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # it was killed, and reaped


def wait(channel: Socket, path: str, experience: Experience) -> None:
    """The life of an understudy, after the zygote's descriptors are closed: a shim's life in the end, or none.

    `path` is the zygote's, for whoever looks.
    """
    title.show_understudy(path)
    try:
        ahead = Ahead(experience.workers)
    except OSError:
        ahead = None  # the shim will fork one, or say why not
    experience.shims.copy_ahead()
    packet, fds = sockets.receive(channel, _MOST)
    channel.close()
    if not packet:
        if ahead is not None:
            ahead.drop()
            os.waitpid(ahead.pid, 0)
        return
    *words, zygote = packet.decode().split("\0")
    birth = Birth.of(words, zygote)
    title.show_shim(birth.namespace, birth.id)
    listener = sockets.adopt(fds[0], sockets.STREAM)
    bootstrap.run(birth, listener, experience, ahead)
