"""A process goes on as the program of another installation: exec(2), with its state in a memfd and its descriptors kept.

Pid, children, the subreaper's part, session, mask and pending signals live through an exec; what does not is in the
document. `check` runs the new program on a copy first, in a child: it reads the document, plays what it can and
ends with 0, or the exec does not take place. Source: man 2 execve. Imports: os; linux.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from hakobune.errors import InvalidArgument
from hakobune.linux import memfd, sockets

MODULE = "hakobune.cmd.zygote"
CHECK = "--check"
CHECK_SECONDS = 20  # after which the kernel ends a check


def interpreter(asked: str) -> str:
    """The interpreter of the new installation; our own place when none is named: other code may be there by now.

    Raises InvalidArgument for one that cannot be executed.
    """
    python = asked or sys.executable
    if not os.path.isabs(python) or not os.access(python, os.X_OK):
        raise InvalidArgument(f"interpreter {python!r} is no program with a full path")
    return python


def command(python: str, words: Sequence[str]) -> list[str]:
    """The argv of one of our programs below the manager."""
    return [python, "-I", "-m", MODULE, *words]


def execute(python: str, words: Sequence[str], fds: Sequence[int]) -> None:
    """Become `python -I -m hakobune.cmd.zygote WORDS`, with `fds` open there. Raises OSError: nothing has changed.

    Signals are held from here on: a handler's default would end us, or forget a child's end, before there is a new one.
    """
    sockets.hold_signals()
    try:
        memfd.keep(fds, True)
        os.execve(python, command(python, words), dict(os.environ))
    except OSError:
        memfd.keep(fds, False)
        sockets.release_signals()
        raise


def check(python: str, words: Sequence[str], fds: Sequence[int]) -> None:
    """In a forked child: run the new program on the state. Never returns; the exit status is the answer."""
    try:
        sockets.alarm(CHECK_SECONDS)
        execute(python, [*words, CHECK], fds)
    except BaseException as err:
        os.write(2, f"{python}: {err}\n".encode())
    os._exit(1)


def arrived(fds: Sequence[int]) -> None:
    """In the new program, once the state is ours: later programs do not get the descriptors, signals come."""
    memfd.keep(fds, False)
    sockets.release_signals()
