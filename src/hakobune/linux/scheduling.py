"""How the processor and the disks are shared out: calls that few containers ask for.

Imports: ctypes, os, struct.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable

# <asm/unistd_64.h>: sched_setattr, ioprio_set, set_mempolicy
_NUMBERS = {"x86_64": (314, 251, 238), "aarch64": (274, 30, 237)}
_SETATTR, _IOPRIO, _MEMPOLICY = _NUMBERS.get(os.uname().machine, _NUMBERS["x86_64"])
_ATTR = struct.Struct("=IIQiIQQQ")  # struct sched_attr, version 0
_WHO_PROCESS, _CLASS_SHIFT = 1, 13  # <linux/ioprio.h>
_libc = ctypes.CDLL(None, use_errno=True)


def setattr(
    policy: int, flags: int, nice: int, priority: int, runtime: int, deadline: int, period: int
) -> None:
    """sched_setattr(2) of this process; the last three in nanoseconds. Raises OSError."""
    attr = _ATTR.pack(_ATTR.size, policy, flags, nice, priority, runtime, deadline, period)
    _done(_libc.syscall(_SETATTR, 0, attr, 0))


def ioprio(kind: int, level: int) -> None:
    """ioprio_set(2) of this process. Raises OSError."""
    _done(_libc.syscall(_IOPRIO, _WHO_PROCESS, 0, kind << _CLASS_SHIFT | level))


def personality(domain: int) -> None:
    """personality(2). Raises OSError."""
    _done(_libc.personality(ctypes.c_ulong(domain)))


def mempolicy(mode: int, nodes: Iterable[int]) -> None:
    """set_mempolicy(2) of this process and those that it becomes the parent of. Raises OSError."""
    mask = sum(1 << node for node in nodes)
    size = (mask.bit_length() // 64 + 1) * 8
    # The kernel takes one bit less than it is told of.
    given = (
        (ctypes.c_char_p(mask.to_bytes(size, sys.byteorder)), ctypes.c_ulong(size * 8 + 1))
        if mask
        else (None, 0)
    )
    _done(_libc.syscall(_MEMPOLICY, mode, *given))


def _done(result: int) -> None:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
