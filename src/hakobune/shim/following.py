"""`logs -f`: a worker reads the file for as long as the container lives, and then to its end. Imports: os; logs, task."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Protocol

from hakobune.linux.sockets import Socket
from hakobune.logs import render
from hakobune.task.process import Member


class Owner(Protocol):
    """Whose log it is; see task.service."""

    def member(self, exec_id: str = "") -> Member: ...
    def follow(self, work: Callable[[Socket], None], keep: Sequence[int], sign: int) -> None: ...


def follow(owner: Owner, fd: int, fields: list[bytes]) -> None:
    """Have the connection `fd` served: head, path and query of a LOGS message. Raises HakoError, OSError: `fd` is the caller's then."""
    head, path, query = fields
    owner.member()  # raises while the connection is still the caller's
    alive, ours = os.pipe2(os.O_CLOEXEC)  # our end closes when the log is complete: the worker's sign

    def work(_near: Socket) -> None:
        os.set_blocking(fd, True)
        render.follow(fd, head, path.decode(), query.decode(), alive)

    try:
        owner.follow(work, (fd, alive), ours)
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(alive)
    os.close(fd)
