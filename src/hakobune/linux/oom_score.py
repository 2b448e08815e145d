"""Readiness to be killed when the machine's memory runs out: proc_pid_oom_score_adj(5). Children inherit it. Imports: os."""

from __future__ import annotations

import os

PATH = "/proc/self/oom_score_adj"
DAEMON = -500  # what dockerd asks for
SHIM = -999  # last of all: with it go a container's streams, log and exit status

_kept: list[int] = []  # the score that this process or its parents had before `protect`


def ask(value: int) -> int:
    """Ask for `value`, -1000 to 1000; what it is now: a lower one needs CAP_SYS_RESOURCE, and is refused silently."""
    fd = os.open(PATH, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            os.write(fd, b"%d" % value)
        except PermissionError:
            pass
        return int(os.pread(fd, 16, 0))
    finally:
        os.close(fd)


def protect(value: int) -> None:
    """As `ask`, for us and for children until they call `unprotect`."""
    with open(PATH) as file:
        before = int(file.read())
    if ask(value) != before:
        _kept[:] = [before]


def pack() -> list[int]:
    """What `unprotect` goes back to, for the program that this process becomes."""
    return list(_kept)


def unpack(kept: list[int]) -> None:
    """In that program, which was born protected."""
    _kept[:] = kept


def unprotect() -> None:
    """In a child: be as any process that the daemon's owner starts; nothing when nothing was granted."""
    if _kept:
        ask(_kept[0])
