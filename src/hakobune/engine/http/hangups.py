"""Clients that hang up while nothing is read from them.

asyncio learns of an end by reading, and a connection whose request is being answered is not read: what comes
late belongs to whoever takes the socket. The kernel tells the end alone through EPOLLRDHUP and EPOLLHUP, which
asyncio's selector cannot ask for; so one epoll of our own holds all connections, and lies in asyncio's.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import Callable

_BATCH = 256


class Hangups:
    """Calls back when a client ends: `callback(whole)`, whole when both ways are closed, not only its own."""

    def __init__(self) -> None:
        self._epoll = select.epoll(flags=select.EPOLL_CLOEXEC)
        self._callbacks: dict[int, Callable[[bool], None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin, on the running loop; again is fine."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._epoll.fileno(), self._ready)

    def watch(self, fd: int, callback: Callable[[bool], None]) -> None:
        """Look at a connection until `forget`, which has to come before its descriptor is closed or given away."""
        if self._epoll.closed:
            return
        self._callbacks[fd] = callback
        self._epoll.register(fd, select.EPOLLRDHUP | select.EPOLLET)

    def forget(self, fd: int) -> None:
        """Look no more; twice is fine."""
        if self._callbacks.pop(fd, None) is not None:
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(fd)

    def close(self) -> None:
        """End."""
        self._callbacks.clear()
        if self._loop is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._loop = None
        self._epoll.close()

    def _ready(self) -> None:
        for fd, events in self._epoll.poll(0, _BATCH):
            if callback := self._callbacks.get(fd):
                callback(bool(events & (select.EPOLLHUP | select.EPOLLERR)))
