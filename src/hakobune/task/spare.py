"""A worker forked ahead for the next exec of a container, where one comes after the other.

A fork of a Python program and the pages that it writes first are half of what an exec takes. Nobody waits for them
when they are made after the exec before; an exec that stands alone, as a health check's does, pays for none.
Imports: task, linux, oci.init.messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from hakobune.linux.pages import WrittenPages
from hakobune.linux.sockets import Socket
from hakobune.oci.init import messages
from hakobune.task.loop import Loop, Timer
from hakobune.task.runtime import Running, Runtime

SERIES_SECONDS = 2.0  # an exec that comes within this time of another one is one of a series
PAUSE_SECONDS = 0.01  # after an exec's end: who waits for that has the processor first
KEPT_SECONDS = 2.0
Forked = tuple[int, Socket]  # pid, channel


class Spare:
    """At most one. `fork` makes it and raises OSError."""

    def __init__(self, loop: Loop, fork: Callable[[], Forked]) -> None:
        self._loop = loop
        self._fork = fork
        self._forked: Forked | None = None
        self._timer: Timer | None = None
        self._asked = -SERIES_SECONDS
        self._series = False

    def take(self, process: bytes) -> Forked | None:
        """For this exec, runtime-spec's JSON, which it begins to prepare; None when there is none, or it has ended."""
        now = time.monotonic()
        self._series, self._asked = now - self._asked < SERIES_SECONDS, now
        found, self._forked = self._forked, None
        self._cancel()
        if found is None:
            return None
        try:
            if len(process) > messages.MAX_MESSAGE:
                raise OSError("longer than a message")
            found[1].send(process)
        except OSError:
            found[1].close()
            return None
        return found

    def soon(self) -> None:
        """An exec has ended: fork the next one's worker in a moment, if a next one is to be expected."""
        if self._series and self._forked is None and self._timer is None:
            self._timer = self._loop.later(PAUSE_SECONDS, self._have)

    def _have(self) -> None:
        self._timer = None
        try:
            self._forked = self._fork()
        except OSError:
            return  # the exec will meet it and tell
        self._timer = self._loop.later(KEPT_SECONDS, self.drop)

    def drop(self) -> None:
        """The end of its channel ends it."""
        self._cancel()
        if self._forked is not None:
            self._forked[1].close()
            self._forked = None

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def ended(self, pid: int) -> None:
        """That process is no more."""
        if self._forked is not None and self._forked[0] == pid:
            self.drop()


def obey(near: Socket, runtime: Runtime, container: Running, written: WrittenPages | None) -> None:
    """The life of a spare worker: `written` are the pages of such."""
    if written is not None:
        written.copy_ahead()
    if process := near.recv(messages.MAX_MESSAGE):
        runtime.exec(container, process, near, learner(written))


def learner(pages: WrittenPages | None) -> Callable[[], None]:
    """In a worker: what learns the pages that it has written by then."""
    return pages.learner() if pages is not None else lambda: None
