"""Watching for the kernel's OOM killer, by one descriptor and the group's own counter: no inotify.

v1 tells by an eventfd, just before it kills, and tells every group below the one that ran out; v2 by POLLPRI on
memory.events. So what is heard is only a reason to look: the counter says whether a process of *this* group was
taken. All state is `seen`: whoever takes a shim's task over makes a new Watch with it. Imports: cgroups, task.loop.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from hakobune.cgroups.cgroup import Cgroup
from hakobune.task.loop import Loop, Timer, complain

LOOKS = (0.02, 0.2, 1.0)  # seconds after the word: the killing may take its time


class Watch:
    """Calls `told` when the counter has grown since the last look. `close` it before the group is removed."""

    def __init__(self, loop: Loop, cgroup: Cgroup, told: Callable[[], None], seen: int = 0) -> None:
        self.seen = seen
        self._loop = loop
        self._cgroup = cgroup
        self._told = told
        self._timers: list[Timer] = []
        self.fd = -1
        try:
            self.fd, events = cgroup.oom_watch()
            if self.fd >= 0:
                loop.watch(self.fd, events, lambda _events: self._heard())
        except OSError as err:  # the counter is looked at in the end all the same
            complain(f"watch {cgroup.path} for OOM", err)

    def _heard(self) -> None:
        try:
            os.lseek(self.fd, 0, os.SEEK_SET)
        except OSError:
            pass  # an eventfd has no places
        try:
            os.read(self.fd, 4096)  # has it wait for the next
        except OSError:
            self._hang_up()  # the group has gone
            return
        self.look()
        for timer in self._timers:
            timer.cancel()
        self._timers = [self._loop.later(seconds, self.look) for seconds in LOOKS]

    def look(self) -> None:
        """Read the counter, and tell when it has grown."""
        kills = self._cgroup.oom_kills()
        if kills > self.seen:
            self.seen = kills
            self._told()

    def close(self) -> None:
        """Watch no more; idempotent."""
        for timer in self._timers:
            timer.cancel()
        self._timers = []
        self._hang_up()

    def _hang_up(self) -> None:
        if self.fd >= 0:
            self._loop.unwatch(self.fd)
            os.close(self.fd)
            self.fd = -1
