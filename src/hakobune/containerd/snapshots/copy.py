"""Copy a tree with everything that a layer can have: owners, modes, times, links of both kinds, devices, attributes.

Imports: os, fcntl, stat.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat

_FICLONE = 0x40049409  # <linux/fs.h>: share the blocks where the file system can
_CHUNK = 1 << 30
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.EPERM, errno.ENODATA)


def copy_tree(source: str, target: str) -> None:
    """Fill the directory `target` with what is in `source`, and make it like it. Raises OSError."""
    linked: dict[tuple[int, int], str] = {}
    todo = [(source, target)]
    finished: list[tuple[str, str]] = []
    while todo:
        place = todo.pop()
        finished.append(place)
        with os.scandir(place[0]) as entries:
            for entry in entries:
                pair = entry.path, os.path.join(place[1], entry.name)
                if _entry(*pair, entry.stat(follow_symlinks=False), linked):
                    todo.append(pair)
    for one in reversed(finished):  # a directory's time changes with what is made in it
        _dress(*one, os.lstat(one[0]))


def _entry(source: str, target: str, found: os.stat_result, linked: dict[tuple[int, int], str]) -> bool:
    """Make one; whether it is a directory, whose contents and attributes are still to come."""
    if stat.S_ISDIR(found.st_mode):
        os.mkdir(target, 0o700)
        return True
    if found.st_nlink > 1:
        key = found.st_dev, found.st_ino
        if key in linked:
            os.link(linked[key], target, follow_symlinks=False)
            return False
        linked[key] = target
    if stat.S_ISREG(found.st_mode):
        _file(source, target)
    elif stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(source), target)
    else:  # devices, FIFOs, sockets
        os.mknod(target, found.st_mode, found.st_rdev)
    _dress(source, target, found)
    return False


def _file(source: str, target: str) -> None:
    with open(source, "rb", buffering=0) as reading, open(target, "xb", buffering=0) as writing:
        with contextlib.suppress(OSError):
            fcntl.ioctl(writing.fileno(), _FICLONE, reading.fileno())
            return
        while os.copy_file_range(reading.fileno(), writing.fileno(), _CHUNK):
            pass


def _dress(source: str, target: str, found: os.stat_result) -> None:
    os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(target, stat.S_IMODE(found.st_mode))  # after the owner, who takes set-user-ID away
    try:
        for name in os.listxattr(source, follow_symlinks=False):
            os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    except OSError as err:
        if err.errno not in _NO_ATTRIBUTES:
            raise
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)
