"""The container's terminal: a pty of the container's own devpts instance.

The master goes to whoever asked for the container, the slave becomes stdin, stdout, stderr and the
controlling terminal. The multiplexer is opened inside the root and made sure of by its number, and
the slave comes from the master by TIOCGPTPEER, never by a path which the image could bend
(CVE-2025-52565). Imports: errno, fcntl, os, stat, struct, termios.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import termios

from hakobune.linux import syscalls as sys
from hakobune.oci.rootfs import safepath

_TIOCSPTLCK = 0x40045431  # <asm-generic/ioctls.h>
_TIOCGPTPEER = 0x5441


def open_pair(root: int) -> tuple[int, int]:
    """(master, slave) of a new pty of the devpts below `root`. Raises OSError."""
    master = safepath.open_path(root, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    if os.fstat(master).st_rdev != os.makedev(5, 2):
        raise OSError(19, "is not a terminal multiplexer", "/dev/pts/ptmx")
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return master, slave


def resize(fd: int, rows: int, columns: int) -> None:
    """TIOCSWINSZ on either side."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def bind_console(root: int, slave: int) -> None:
    """/dev/console becomes the slave: there, and not where a link of the image leads. Raises OSError."""
    place = _console(root)
    tree = sys.open_tree(slave, "", sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC | sys.AT_EMPTY_PATH)
    sys.move_mount(tree, place)
    os.close(tree)
    os.close(place)


def _console(root: int) -> int:
    dev = safepath.ensure_directory(root, "/dev")
    try:
        os.close(os.open("console", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=dev))
    except FileExistsError:
        if stat.S_ISLNK(os.stat("console", dir_fd=dev, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, "is a link in the image", "/dev/console") from None
    try:
        return os.open("console", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dev)
    finally:
        os.close(dev)


def take(slave: int) -> None:
    """Make the slave the controlling terminal of our (new) session."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
