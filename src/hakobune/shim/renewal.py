"""A shim goes on as newer code, in one of two ways; who asked is answered by the code that goes on.

  fork   to a fork of the zygote (shim/handover.py), which was upgraded before: pages stay shared
  exec   by executing the new program itself (shim/successor.py): where the kernel cannot tell the status of what
         others have reaped, or when it is asked for. The process and its children stay the same
Both wait until nothing is being made or is ending, and change nothing before the new code has shown that it can
restore all of the state: the zygote's fork before its READY, the new program in a child. Imports: os, sys, time; shim.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from hakobune.errors import FailedPrecondition, HakoError, InvalidArgument, Unavailable
from hakobune.failpoint import reach
from hakobune.linux.sockets import Socket
from hakobune.shim import handover, successor
from hakobune.shim.rpc import Call
from hakobune.task.loop import Loop
from hakobune.task.luggage import Luggage
from hakobune.version import VERSION
from hakobune.wire import pb

FORK, EXEC = "fork", "exec"
SHIM, BACK = "--shim", "--back"  # of cmd.zygote: the memfd of a shim's state; this is the code it came from
PATIENCE_SECONDS = 10.0
PAUSE_SECONDS = 0.1


class Movable(Protocol):
    """What is asked of the shim."""

    @property
    def movable(self) -> bool:
        """Whether all of its state can be packed now."""

    def move(self, mode: str) -> bool:
        """Go over to a fork of the zygote; True: leave at once."""

    def write(self, luggage: Luggage) -> int:
        """A memfd of its state for a program that it becomes. Raises OSError, HakoError."""

    def run_worker(
        self, work: Callable[[Socket], None], done: Callable[[int], None], keep: Sequence[int]
    ) -> Socket:
        """See task.Service. Raises OSError."""

    def not_renewed(self) -> None:
        """It has come to nothing."""


class Renewal:
    """One request under way; it is tried again while the shim is busy."""

    def __init__(self, shim: Movable, loop: Loop, call: Call, python: str, way: str) -> None:
        """`python` is the new interpreter, "" for what stands in our own's place. Raises InvalidArgument."""
        steps = {FORK: self._fork, EXEC: self._check}
        if way not in steps:
            raise InvalidArgument(f"{way!r} is no way to renew a shim: {FORK} or {EXEC} is")
        self._step: Callable[[], None] = steps[way]
        self._python = successor.interpreter(python)
        self._shim = shim
        self._loop = loop
        self._call = call
        self._until = time.monotonic() + PATIENCE_SECONDS
        loop.later(0, self._try)

    def _try(self) -> None:
        try:
            if not self._shim.movable:
                raise FailedPrecondition("something is being made, or is ending")
            self._step()
        except (OSError, HakoError) as err:
            if time.monotonic() < self._until:
                self._loop.later(PAUSE_SECONDS, self._try)
            else:
                self._give_up(str(err))

    def _give_up(self, why: str) -> None:
        self._shim.not_renewed()
        self._call.failed(Unavailable(f"the shim goes on as it is: {why}"))

    def _fork(self) -> None:
        if not self._shim.move(handover.AWAKE):
            raise Unavailable("the zygote does not take it over")
        os._exit(handover.LEFT)

    def _check(self) -> None:
        """Have a child restore itself from a copy of all this, as the new code; `_execute` is next."""
        luggage = Luggage()
        memory = self._shim.write(luggage)
        fds = [memory, *luggage.fds]

        def work(_near: Socket) -> None:
            successor.check(self._python, words(memory), fds)

        def checked(status: int) -> None:
            channel.close()
            if status != 0:
                self._give_up(f"{self._python} ended with wait status {status}, see shim.log")
                return
            self._step = self._execute
            self._try()

        try:
            channel = self._shim.run_worker(work, checked, fds)
        finally:
            os.close(memory)

    def _execute(self) -> None:
        luggage = Luggage()
        memory = self._shim.write(luggage)
        reach("shim.renew.written")
        try:
            successor.execute(self._python, words(memory), [memory, *luggage.fds])
        finally:
            os.close(memory)


def words(memory: int) -> list[str]:
    """The command line of a program that goes on as this shim."""
    return [SHIM, f"{memory}"]


def done(call: Call, previous: str) -> None:
    """The answer, by the code that goes on: pid 1, release 2, release before 3."""
    call.done(pb.field(1, os.getpid()) + pb.field(2, VERSION) + pb.field(3, previous))


def came_back(call: Call) -> None:
    """The answer of a shim that was executed, could not go on as the new code and is the old one again."""
    call.failed(Unavailable("the new code gave up, and the shim went back: see shim.log"))
