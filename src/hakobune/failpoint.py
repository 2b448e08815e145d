"""Fail points: named steps at which a process kills itself, and a disk that is slow, for tests of what a crash leaves.

HAKOBUNE_FAILPOINT=name[:n]   SIGKILL to ourselves when `name` is reached for the n-th time in this process
HAKOBUNE_FAILPOINT=/dir       … when the file /dir/name is there; it is taken away first, so only one process dies of it.
                              Points can be set while daemons run, and one engine serves a test of all of them.
HAKOBUNE_SLOW_FSYNC=seconds   every `slow()` takes that long; with /dir, for as long as /dir/slow-fsync has a number in it

Decided once, at import: without these variables `reach` and `slow` do nothing. Imports: os, time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_SIGKILL = 9
_GIVEN = os.environ.get("HAKOBUNE_FAILPOINT", "")
_SECONDS = float(os.environ.get("HAKOBUNE_SLOW_FSYNC", "0"))


class _Counted:
    """The n-th time of one name."""

    def __init__(self, text: str) -> None:
        self._name, _, number = text.partition(":")
        self._left = int(number or 1)

    def reach(self, name: str) -> None:
        if name == self._name:
            self._left -= 1
            if self._left == 0:
                _die()


def _reach_armed(name: str) -> None:
    """By the directory. Inside a container it is only found where it is mounted at the same path."""
    try:
        os.unlink(f"{_GIVEN}/{name}")
    except OSError:
        return
    _die()


def _die() -> None:
    os.kill(os.getpid(), _SIGKILL)
    os._exit(128 + _SIGKILL)  # process 1 of a namespace does not die by its own hand


def _reach_nothing(name: str) -> None:
    pass


def _wait() -> None:
    time.sleep(_SECONDS)


def _wait_as_told() -> None:
    try:
        with open(f"{_GIVEN}/slow-fsync") as file:
            time.sleep(float(file.read() or 0))
    except (OSError, ValueError):
        pass


def _go_on() -> None:
    pass


def _chosen() -> Callable[[str], None]:
    if _GIVEN.startswith("/"):
        return _reach_armed
    return _Counted(_GIVEN).reach if _GIVEN else _reach_nothing


def _pace() -> Callable[[], None]:
    if _SECONDS:
        return _wait
    return _wait_as_told if _GIVEN.startswith("/") else _go_on


armed = bool(_GIVEN)  # whether `reach` may do something
reach = _chosen()  # reach("room.verb.step"): this step was done
slow = _pace()  # slow(): here data goes to the disk
