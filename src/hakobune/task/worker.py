"""Throw-away workers: forks of the shim that do what would make the shim itself grow.

A worker parses, mounts, clones and ends; it speaks to the shim over the near end of a channel (see
oci.init.messages). It must never return into the shim's loop. Imports: os; oci.init.messages.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from hakobune.oci.init import messages


def start(work: Callable[[socket.socket], None]) -> tuple[int, socket.socket]:
    """Fork a worker that runs `work(near)`; (its pid, the far end, non-blocking).

    What `work` raises becomes a FAILED message. Raises OSError when the fork is refused.
    """
    far, near = messages.pair()
    try:
        pid = os.fork()
    except OSError:
        far.close()
        near.close()
        raise
    if pid == 0:
        _run(work, far, near)
    near.close()
    far.setblocking(False)
    return pid, far


def _run(work: Callable[[socket.socket], None], far: socket.socket, near: socket.socket) -> None:
    status = 0
    try:
        far.close()
        signal.set_wakeup_fd(-1)
        work(near)
    except BaseException as err:
        status = 1
        try:
            messages.say_failed(near, err)
        except OSError:
            pass
    os._exit(status)
