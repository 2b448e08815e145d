"""From a fresh fork of the zygote to a serving shim: wires the rooms together and runs the loop.

Imports: os, socket, sys; task, shim, linux.
"""

from __future__ import annotations

import gc
import os
import sys
from dataclasses import dataclass

from hakobune.linux import syscalls
from hakobune.linux.sockets import Socket
from hakobune.logs import render
from hakobune.shim.publish import Publisher, encode
from hakobune.shim.rpc import TaskServer
from hakobune.shim.side import SideServer
from hakobune.task.loop import Loop, complain
from hakobune.task.process import Member
from hakobune.task.service import Service

LINGER_SECONDS = 0.05
LINGER_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Birth:
    """What the manager asked the zygote for."""

    namespace: str
    id: str
    bundle: str
    socket_path: str
    events_address: str


class Shim:
    """One container's shim; the observer of its task service."""

    def __init__(self, birth: Birth, listener: Socket) -> None:
        self._birth = birth
        self._listener = listener
        self.loop = Loop()
        self._publisher = Publisher(self.loop, birth.events_address, birth.namespace)
        self._service = Service(self.loop, birth.id, birth.bundle, self)
        self._side = SideServer(self.loop, self._service, self._follow)
        self._service.on_side_path = self._listen_side
        self._rounds = 0
        self.loop.on_terminate = lambda: None  # a shim ends with its container, or when it is told to
        TaskServer(self.loop, self._service, listener, self._shutdown)

    def _listen_side(self, path: str) -> None:
        try:
            self._side.listen(path)
        except OSError as err:
            complain(f"listen on {path}", err)

    def _follow(self, fd: int, fields: list[bytes]) -> None:
        """`logs -f`: a worker reads the file for as long as the container lives, and then to its end."""
        head, path, query = fields
        self._service.member()  # raises while the connection is still the caller's
        alive, ours = os.pipe2(os.O_CLOEXEC)  # our end closes when the log is complete: the worker's sign

        def work(_near: Socket) -> None:
            os.set_blocking(fd, True)
            render.follow(fd, head, path.decode(), query.decode(), alive)

        try:
            channel = self._service.run_worker(work, lambda _status: channel.close(), keep=(fd, alive))
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(alive)
        os.close(fd)
        self._service.when_drained(lambda: os.close(ours))

    # --- what the service tells ---

    def event(self, topic: str, member: Member) -> None:
        """Publish."""
        self._publisher.publish(topic, *encode(topic, self._service, member))

    def engine_present(self) -> bool:
        """Whether somebody will release the clients."""
        return self._side.engine_present

    def answer(self, member: Member) -> None:
        """Clients that wait for this end may know."""
        self._side.answer(member)

    # --- the end ---

    def _shutdown(self) -> None:
        """No task is left: stop listening at once, end when the last byte and event are out."""
        self.loop.unwatch(self._listener.fileno())
        self._listener.close()
        self._side.close()
        try:
            os.unlink(self._birth.socket_path)
        except OSError:
            pass  # the manager has taken it away already
        self._linger()

    def _linger(self) -> None:
        self._rounds += 1
        if self._rounds == 1 or (self._rounds < LINGER_ROUNDS and not self._quiet()):
            self.loop.later(LINGER_SECONDS, self._linger)
        else:
            self.loop.stop()

    def _quiet(self) -> bool:
        return self._publisher.idle and self._side.idle


def run(birth: Birth, listener: Socket) -> None:
    """The life of a shim's process, after the zygote's descriptors are closed. Returns at its end."""
    os.setsid()
    gc.disable()  # a collection would touch, and so copy, every page that we share with the zygote
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    syscalls.set_process_name("hako-shim")
    log = os.open(f"{birth.bundle}/shim.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        Shim(birth, listener).loop.run()
    except BaseException as err:
        complain("the shim ends", err)
        sys.stderr.flush()
        raise
