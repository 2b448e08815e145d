"""Taking away what is in the way, by descriptors: hostile trees are as deep as they like, and links lead nowhere."""

from __future__ import annotations

import errno
import os

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def remove_tree(parent: int, name: str) -> None:
    """rm -rf on a descriptor, following nothing; absent is silent.

    An archive can nest directories deeper than any stack or descriptor table: so what lies two levels down
    is first moved up one, and the depth never exceeds two.
    """
    if _unlink(parent, name):
        return
    fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        serial = 0
        while names := [child for child in os.listdir(fd) if not _unlink(fd, child)]:
            for child in names:
                serial = _lift(fd, child, serial)
                os.rmdir(child, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)


def _unlink(parent: int, name: str) -> bool:
    """Whether the name is gone now: False for a directory."""
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        return False
    except FileNotFoundError:
        return True
    return True


def _lift(parent: int, name: str, serial: int) -> int:
    """Empty the directory `name`: unlink its files, move its directories up under free names."""
    fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        for child in os.listdir(fd):
            while not _unlink(fd, child):
                serial += 1
                try:
                    os.rename(child, f".hako-{serial}", src_dir_fd=fd, dst_dir_fd=parent)
                except OSError as err:  # the name is taken: try the next number
                    if err.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                        raise
    finally:
        os.close(fd)
    return serial
