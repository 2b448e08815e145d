"""Network namespaces, made and entered in a thread that ends at once: the calling thread never leaves its own.

A namespace is a descriptor; it lives as long as that, or a process in it, does. Imports: linux, threading.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from hakobune.linux.netlink import Netlink
from hakobune.linux.syscalls import CLONE_NEWNET, setns, unshare

_NO_IPV6 = "/proc/sys/net/ipv6/conf/default/disable_ipv6"


class Namespace:
    """A namespace in the making, or made: the work goes on in a thread until `join`."""

    def __init__(self, step: Callable[[], int]) -> None:
        self.fd = -1
        self._netlink: Netlink | None = None
        self._error: OSError | None = None
        self._step = step
        self._thread = threading.Thread(target=self._run, name="netns")
        self._thread.start()

    @classmethod
    def make(cls) -> Namespace:
        """A new one, with nothing but a loopback device that is down; IPv6 off on devices to come."""
        return cls(_unshare)

    @classmethod
    def enter(cls, fd: int) -> Namespace:
        """The one behind `fd`, for its netlink socket; `fd` stays the caller's."""
        return cls(lambda: _setns(fd))

    def join(self) -> Netlink:
        """Wait for the thread; returns a socket inside, for the caller to close. Raises OSError."""
        self._thread.join()
        if self._error:
            raise self._error
        assert self._netlink is not None
        return self._netlink

    def _run(self) -> None:
        try:
            self.fd = self._step()
            self._netlink = Netlink()
        except OSError as err:
            self._error = err


def _unshare() -> int:
    unshare(CLONE_NEWNET)
    _write(_NO_IPV6, "1")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _setns(fd: int) -> int:
    setns(fd, CLONE_NEWNET)
    return fd


def _write(path: str, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # a kernel without IPv6
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
