"""Our own terminal joined to a container's, until the container's is closed. Imports: termios, tty, select."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import termios
import tty


def proxy(console: int) -> None:
    """Copy both ways in raw mode; returns when nobody holds the other side any more. Closes `console`."""
    before = None
    if os.isatty(0):
        before = termios.tcgetattr(0)
        tty.setraw(0)
        _follow_size(console)
        signal.signal(signal.SIGWINCH, lambda _number, _frame: _follow_size(console))
    try:
        _copy(console)
    finally:
        os.close(console)
        if before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def _follow_size(console: int) -> None:
    size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
    fcntl.ioctl(console, termios.TIOCSWINSZ, size)


def _copy(console: int) -> None:
    poll = select.poll()
    poll.register(console, select.POLLIN)
    poll.register(0, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if console in ready:
            try:
                data = os.read(console, 65536)
            except OSError:  # EIO: the last slave was closed
                return
            _write_all(1, data)
        if 0 in ready:
            data = os.read(0, 65536)
            if data:
                _write_all(console, data)
            else:
                poll.unregister(0)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
