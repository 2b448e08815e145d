"""A descriptor of another process as one of our own: pidfd_getfd(2), for tests that reach into the daemons.

By itself, so that no shim loads it. Imports: ctypes, os.
"""

from __future__ import annotations

import ctypes
import os

_NR = 438  # <asm/unistd.h>, the same on every machine
_libc = ctypes.CDLL(None, use_errno=True)


def getfd(pidfd: int, number: int) -> int:
    """A duplicate of the descriptor `number` of that process. Raises OSError: EBADF when it has none, ESRCH when it is gone."""
    lent: int = _libc.syscall(_NR, pidfd, number, 0)
    if lent < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return lent
