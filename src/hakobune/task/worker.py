"""Throw-away workers: forks of the shim that do what would make the shim itself grow.

A worker parses, mounts, clones and ends; it speaks to the shim over the near end of a channel (see
oci.init.messages). It must never return into the shim's loop. Imports: os; linux, oci.init.messages.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from hakobune.linux import oom_score, sockets, syscalls
from hakobune.linux.sockets import Socket
from hakobune.oci.init import messages


def start(
    work: Callable[[Socket], None], keep: Iterable[int] = (), *, cgroup: int = -1
) -> tuple[int, Socket]:
    """Fork a worker that runs `work(near)`, in the v2 control group of descriptor `cgroup` if that is given.

    Returns (its pid, the far end, non-blocking).

    Of the shim's descriptors it has `keep` and its channel only: an end of a pipe or a client's
    connection that lived on in a worker, or in a created init, would keep the other side from its end.
    What `work` raises becomes a FAILED message. Raises OSError when the fork is refused.
    """
    far, near = messages.pair()
    try:
        pid = os.fork() if cgroup < 0 else syscalls.clone3(0, cgroup_fd=cgroup)
    except OSError:
        far.close()
        near.close()
        raise
    if pid == 0:
        _run(work, near, keep)
    near.close()
    far.setblocking(False)
    return pid, far


def _run(work: Callable[[Socket], None], near: Socket, keep: Iterable[int]) -> None:
    status = 0
    try:
        sockets.set_wakeup_fd(-1)
        oom_score.unprotect()
        close_others({0, 1, 2, near.fileno(), *keep})
        work(near)
    except BaseException as err:
        status = 1
        try:
            messages.say_failed(near, err)
        except OSError:
            pass
    near.close()  # before the memory, which takes a millisecond: the shim goes on with the channel's end
    os._exit(status)


def close_others(keep: set[int]) -> None:
    """Close every descriptor which is not in `keep`."""
    first = 0
    for fd in sorted(keep):
        if fd > first:
            syscalls.close_range(first, fd - 1)
        first = fd + 1
    syscalls.close_range(first)
