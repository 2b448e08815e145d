"""Connections of other processes, cut from outside: pidfd_getfd(2) lends us the socket, shutdown(2) ends it for both sides."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

from hakobune.linux.getfd import getfd

_LISTENS = 0x10000  # SO_ACCEPTCON among the flags of /proc/net/unix


def cut(pid: int, below: str) -> list[str]:
    """End every connection that a process has accepted at a unix socket whose path begins with `below`; those paths.

    What it listens at stays. A process that is gone has none. Raises OSError where the kernel does not lend.
    """
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        known = _accepted(pid, below)
        handle = os.pidfd_open(pid)
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(FileNotFoundError):
                    path = known.get(os.readlink(f"/proc/{pid}/fd/{name}"))
                    if path and _end(handle, int(name)):
                        found.append(path)
        finally:
            os.close(handle)
    return found


def _accepted(pid: int, below: str) -> dict[str, str]:
    """What /proc/PID/fd shows for a connection -> the path that it was accepted at."""
    found = {}
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        if len(words) == 8 and words[7].startswith(below) and not int(words[3], 16) & _LISTENS:
            found[f"socket:[{words[6]}]"] = words[7]
    return found


def _end(handle: int, number: int) -> bool:
    """False when it has closed it meanwhile."""
    try:
        lent = getfd(handle, number)
    except OSError as err:
        if err.errno in (errno.EBADF, errno.ESRCH):
            return False
        raise
    with socket.socket(fileno=lent) as borrowed, contextlib.suppress(OSError):
        borrowed.shutdown(socket.SHUT_RDWR)
    return True
