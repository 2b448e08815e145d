"""The template: a process that does nothing but fork shims, so that its pages stay as they were frozen.

The zygote itself serves managers and buries shims; whatever it writes to between two forks would be a
page that no two shims share. Its template is forked once, before there is anything to serve, and only
reads requests from a socket pair. Shims are made with CLONE_PARENT: they are the zygote's children.

The template ends with its zygote (the end of the channel). One that died is replaced by a fork of the
zygote at the next request: that costs later shims some pages, and nothing else.

A request: namespace \\0 id \\0 bundle \\0 socket path \\0 events address, with the bound listener. The
answer: the pid, or a minus and an errno. Imports: os; linux, shim.
"""

from __future__ import annotations

import errno
import os
import sys

from hakobune.linux import sockets, syscalls
from hakobune.linux.sockets import Socket
from hakobune.shim import bootstrap, lean, title
from hakobune.task import worker
from hakobune.task.loop import complain

MAX_REQUEST = 16384
ANSWER_SECONDS = 10.0


class Template:
    """The zygote's end. `pid` is 0 when there is no template."""

    def __init__(self, shim: bootstrap.Shim) -> None:
        self.pid = 0
        self._shim = shim
        self._channel: Socket | None = None

    def start(self) -> None:
        """Fork it. Raises OSError."""
        ours, theirs = sockets.pair(sockets.SEQPACKET)
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            _run(self._shim, theirs)
        theirs.close()
        ours.settimeout(ANSWER_SECONDS)
        self.pid, self._channel = pid, ours

    def lost(self) -> None:
        """It has ended."""
        self.pid = 0
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def fork(self, birth: bootstrap.Birth, listener: Socket) -> int:
        """A shim that serves `listener`; its pid. Raises OSError."""
        channel = self._ask("\0".join(birth.words()).encode(), listener)
        try:
            pid = int(channel.recv(64) or b"0")
        except OSError:
            self._give_up()
            raise
        if pid == 0:
            self._give_up()
            raise OSError(errno.ESRCH, "the template has died")
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid), "clone3")
        return pid

    def _ask(self, request: bytes, listener: Socket) -> Socket:
        """Send to the template, to a new one when it has died unnoticed; the channel of the answer."""
        if self._channel is not None:
            try:
                sockets.send(self._channel, request, listener.fileno())
                return self._channel
            except OSError:
                self._give_up()
        self.start()
        assert self._channel is not None
        sockets.send(self._channel, request, listener.fileno())
        return self._channel

    def _give_up(self) -> None:
        """It does not answer: an answer that came later would be taken for another's."""
        if self.pid:
            os.kill(self.pid, 9)
        self.lost()


def _run(shim: bootstrap.Shim, channel: Socket) -> None:
    """The template's whole life; never returns."""
    status = 1
    try:
        _prepare(channel)
        while True:
            packet, rights = sockets.receive(channel, MAX_REQUEST)
            if not packet:
                status = 0
                break
            pid = syscalls.fork_sibling()
            if pid == 0:
                _become_shim(shim, packet, rights[0])
                status = 0
                break
            os.close(rights[0])
            channel.send(b"%d" % pid)
    except BaseException as err:
        complain("the template, or a shim, ends", err)
    os._exit(status)  # an interpreter that tidies up would first copy every page it shares with us


def _prepare(channel: Socket) -> None:
    """Nothing of the zygote's is ours, and only its end is our end."""
    sockets.set_wakeup_fd(-1)
    sockets.set_handler(sockets.SIGCHLD, sockets.DEFAULT)
    for number in (sockets.SIGTERM, sockets.SIGINT):
        sockets.set_handler(number, sockets.IGNORE)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 1)
    worker.close_others({0, 1, 2, channel.fileno(), *lean.descriptors()})
    title.set_title(b"hako-template")
    syscalls.set_process_name("hako-template")
    sys.stdout.flush()


def _become_shim(shim: bootstrap.Shim, packet: bytes, kept: int) -> None:
    """In the child: live the shim's life.

    The objects that held the template's descriptors stay as they are: to let go of them costs pages.
    """
    first = 3
    for fd in sorted((kept, *lean.descriptors())):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
    birth = bootstrap.Birth(*packet.decode().split("\0"))
    title.set_title(f"hako-shim -namespace {birth.namespace} -id {birth.id}".encode())
    bootstrap.run(shim, birth, sockets.adopt(kept, sockets.STREAM))
