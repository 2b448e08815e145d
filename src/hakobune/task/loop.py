"""The shim's event loop: epoll, timers, children. No asyncio: it would cost each shim a megabyte.

A watcher is a function called with the ready events of its descriptor; it must not block. Errors of
a watcher are a bug of ours: they are logged and the descriptor is dropped, since the container must
outlive them. Imports: select, linux.sockets, os, time, heapq.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import select
import time
from collections.abc import Callable

from hakobune.linux import sockets

IN = select.EPOLLIN
OUT = select.EPOLLOUT
GONE = select.EPOLLHUP | select.EPOLLERR

LONGEST_PAUSE = 86400.0  # seconds; epoll counts milliseconds in 32 bits
MOST_EVENTS = 32  # a round; the default of 1023 would take 12 KiB of memory each time

Watcher = Callable[[int], None]


class Timer:
    """One pending call; `cancel()` is idempotent."""

    __slots__ = ("action", "at")

    def __init__(self, at: float, action: Callable[[], None]) -> None:
        self.at = at
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """The action will not run any more."""
        self.action = None

    def __lt__(self, other: Timer) -> bool:
        return self.at < other.at


class Loop:
    """Owns one epoll instance. `on_child` is called after every SIGCHLD."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watchers: dict[int, Watcher] = {}
        self.interests: dict[int, int] = {}  # what is waited for, by descriptor
        self.turns = 0  # how often something has happened, timers apart
        self._fresh: set[int] = set()  # watched since the last poll: older events mean an older descriptor
        self._timers: list[Timer] = []
        self._running = True
        self.on_child: Callable[[], None] = lambda: None
        self.on_terminate: Callable[[], None] = self.stop
        self._catch_signals()

    def _catch_signals(self) -> None:
        reading, writing = self.pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # The Python-level handler does nothing; the C one writes the signal's number to the pipe.
        for number in (sockets.SIGCHLD, sockets.SIGTERM, sockets.SIGINT):
            sockets.set_handler(number, lambda _number, _frame: None)
        sockets.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self.watch(reading, IN, lambda _events: self._signalled(reading))

    def _signalled(self, reading: int) -> None:
        numbers = os.read(reading, 512)
        if sockets.SIGCHLD in numbers:
            _guard("on_child", self.on_child)
        if sockets.SIGTERM in numbers or sockets.SIGINT in numbers:
            _guard("on_terminate", self.on_terminate)

    def watch(self, fd: int, events: int, watcher: Watcher) -> None:
        """Call `watcher` when `fd` is ready; a second call for the same descriptor replaces the first."""
        if fd in self._watchers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
            self._fresh.add(fd)
        self._watchers[fd] = watcher
        self.interests[fd] = events

    def unwatch(self, fd: int) -> None:
        """Forget `fd`; silent when it is not watched. To be called before close(2)."""
        if self._watchers.pop(fd, None) is not None and not self._epoll.closed:
            del self.interests[fd]
            self._epoll.unregister(fd)

    def later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Run `action` once, after `seconds`."""
        timer = Timer(time.monotonic() + seconds, action)
        heapq.heappush(self._timers, timer)
        return timer

    @staticmethod
    def left(timer: Timer | None) -> float | None:
        """Seconds until a timer runs; None when it does not."""
        if timer is None or timer.action is None:
            return None
        return max(0.0, timer.at - time.monotonic())

    def abandon(self) -> None:
        """In a fork: this loop is the parent's. Its `run` returns, and nothing of it is touched: to let go of
        what it holds would copy the pages that it is in. The caller closes its descriptors."""
        self._running = False

    def close(self) -> None:
        """Of no use afterwards; signals are heard by nobody until there is another loop."""
        sockets.set_wakeup_fd(-1)
        self._watchers.clear()
        self.interests.clear()
        self._timers.clear()
        self._epoll.close()
        for fd in self.pipe:
            os.close(fd)

    def stop(self) -> None:
        """`run` returns after the present call."""
        self._running = False

    def run(self) -> None:
        """Until `stop`."""
        while self._running:
            self._fresh.clear()
            for fd, events in self._epoll.poll(self._pause(), MOST_EVENTS):
                watcher = self._watchers.get(fd)
                if watcher is not None and fd not in self._fresh:
                    self._call(fd, watcher, events)
                if not self._running:
                    return
            if self._running:
                self._fire()

    def _call(self, fd: int, watcher: Watcher, events: int) -> None:
        self.turns += 1
        try:
            watcher(events)
        except Exception as err:
            complain(f"watcher of descriptor {fd}", err)
            with contextlib.suppress(OSError, ValueError):
                self.unwatch(fd)

    def next_timer(self) -> float:
        """Seconds until something is to be done without an event; -1 for never."""
        return self._pause()

    def _pause(self) -> float:
        while self._timers and self._timers[0].action is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return -1
        return min(max(0.0, self._timers[0].at - time.monotonic()), LONGEST_PAUSE)

    def _fire(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].at <= now:
            action = heapq.heappop(self._timers).action
            if action is not None:
                _guard("timer", action)


def _guard(where: str, action: Callable[[], None]) -> None:
    """A bug behind a timer or a signal must not end the loop, nor cut it from its signals."""
    try:
        action()
    except Exception as err:
        complain(where, err)


def complain(where: str, err: BaseException) -> None:
    """One line on the shim's own error output (its log file), with the place in our code.

    A disk that is too full for it ends no shim: straight to the descriptor, nothing is kept in a buffer.
    """
    trace = err.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    line = f"shim: {where}: {type(err).__name__}: {err}{place}\n"
    try:
        os.write(2, line.encode("utf-8", "backslashreplace"))
    except OSError:
        pass
