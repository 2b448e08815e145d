"""The workers of a container's execs: forked when an exec is made known, or before that where they come in series.

A worker reads everything in the host and waits for START with the streams; see Runtime.exec. Imports: os; task, linux.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from hakobune.errors import HakoError
from hakobune.linux.pages import WrittenPages
from hakobune.linux.sockets import Socket
from hakobune.task import runtimes, spare, worker
from hakobune.task.loop import Loop
from hakobune.task.process import Member
from hakobune.task.runtime import Program, Running, Runtime

AHEAD_SECONDS = 2.0  # how long one waits for the Start


class Container(Protocol):
    """Whose execs they are."""

    @property
    def program(self) -> Program: ...
    def running(self) -> Running: ...
    @property
    def may_have_spare(self) -> bool: ...
    def collect(self, pid: int, done: Callable[[int], None]) -> None: ...


class ExecWorkers:
    """Of one container. `ended(member)` hears when the worker of a started exec has gone."""

    def __init__(self, loop: Loop, container: Container, ended: Callable[[Member], None]) -> None:
        self.pages: WrittenPages | None = None  # what such workers write first
        self._loop = loop
        self._container = container
        self._ended = ended
        self._spare = spare.Spare(loop, self._fork_spare)

    def begin(self, member: Member) -> None:
        """For an exec that will be started soon; `take` forks another when this one has gone."""
        if member.worker or member.ahead is not None:
            return
        try:
            member.ahead = self._made(member)
        except (OSError, HakoError):
            return  # the Start will meet it again and tell
        self._loop.later(AHEAD_SECONDS, lambda: self.drop(member))

    def take(self, member: Member) -> Socket:
        """The channel of its worker, which is told START next. Raises OSError, NotFound."""
        (member.worker, channel), member.ahead = member.ahead or self._made(member), None
        return channel

    def expect_another(self) -> None:
        """An exec has ended."""
        self._spare.soon()

    def drop(self, member: Member) -> None:
        """It is not to be started any more. The end of its channel ends the worker."""
        if member.ahead is not None:
            member.ahead[1].close()
            member.ahead = None

    def drop_spare(self) -> None:
        """No exec is to be expected."""
        self._spare.drop()

    def _made(self, member: Member) -> spare.Forked:
        process, pages = member.spec.process, self.pages
        found = self._spare.take(process)
        if found is None:
            found = self._fork(
                lambda near, runtime, running: runtime.exec(running, process, near, spare.learner(pages))
            )
        pid = found[0]
        self._container.collect(pid, lambda _status: self._gone(member, pid))
        return found

    def _gone(self, member: Member, pid: int) -> None:
        if member.worker == pid:
            self._ended(member)
        elif member.ahead is not None and member.ahead[0] == pid:
            self.drop(member)

    def _fork_spare(self) -> spare.Forked:
        """Raises OSError."""
        if not self._container.may_have_spare:
            raise OSError("no worker may wait for this container")
        found = self._fork(lambda near, runtime, running: spare.obey(near, runtime, running, self.pages))
        pid = found[0]
        self._container.collect(pid, lambda _status: self._spare.ended(pid))
        return found

    def _fork(self, work: Callable[[Socket, Runtime, Running], None]) -> spare.Forked:
        runtime, running = runtimes.of(self._container.program), self._container.running()
        group = running.cgroup.unified_fd() if runtime.gated else -1  # a program goes there by itself
        try:
            return worker.start(lambda near: work(near, runtime, running), (running.pidfd,), cgroup=group)
        finally:
            if group >= 0:
                os.close(group)
