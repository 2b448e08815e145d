"""Everything below a directory, seen through descriptors only: links are told, never followed.

Whoever owns the tree may change it meanwhile, even to trick us: a directory that has become a link is skipped, and
what has gone is left out. Imports: os, layers.tar.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from hakobune.layers.tar import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, REGULAR, SYMLINK, Entry

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20
_KINDS = {
    stat.S_IFREG: REGULAR, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: SYMLINK, stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE, stat.S_IFIFO: FIFO,
}  # fmt: skip
PRIVATE = ("trusted.overlay.", "user.overlay.")  # overlayfs's own attributes: no part of the content


@dataclass(frozen=True, slots=True)
class Found:
    """One file: `name` in the directory with the descriptor `parent`, which is open until the next one is asked for.

    `path` is relative to where the walk began.
    """

    parent: int
    name: str
    path: str
    status: os.stat_result

    @property
    def identity(self) -> tuple[int, int]:
        """The same for all hard links of one file."""
        return self.status.st_dev, self.status.st_ino


@dataclass(slots=True)
class _Level:
    fd: int
    names: Iterator[str]
    path: str


def walk(root: int, prefix: str = "") -> Iterator[Found]:
    """Parents first, names in order. `prefix` goes before every path. Raises OSError."""
    levels = [_level(os.dup(root), prefix)]
    try:
        while levels:
            level = levels[-1]
            name = next(level.names, None)
            if name is None:
                os.close(levels.pop().fd)
                continue
            try:
                status = os.stat(name, dir_fd=level.fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            path = level.path + name
            yield Found(level.fd, name, path, status)
            if stat.S_ISDIR(status.st_mode) and (inner := opened(level.fd, name, _DIRECTORY)) is not None:
                levels.append(_level(inner, f"{path}/"))
    finally:
        for level in levels:
            os.close(level.fd)


def _level(fd: int, path: str) -> _Level:
    try:
        return _Level(fd, iter(sorted(os.listdir(fd))), path)
    except OSError:
        os.close(fd)
        raise


def opened(parent: int, name: str, flags: int) -> int | None:
    """A descriptor of the file; None when it has gone or become something else meanwhile."""
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as err:
        if err.errno in (40, 6):  # ELOOP: a link now; ENXIO: a socket or a FIFO now
            return None
        raise


def entry(found: Found, name: str) -> Entry | None:
    """What a tar archive says of it, under `name`; None for sockets, which mean nothing elsewhere."""
    status = found.status
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None
    made = Entry(name, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns)
    if kind == REGULAR:
        made.size = status.st_size
    elif kind == SYMLINK:
        made.link = os.readlink(found.name, dir_fd=found.parent)
    elif kind in (CHARACTER, BLOCK_DEVICE):
        made.major, made.minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    made.xattrs = xattrs(found.parent, found.name)
    return made


def xattrs(parent: int, name: str) -> dict[str, bytes]:
    """Extended attributes of a file that is not followed; none where the file system has none."""
    fd = opened(parent, name, os.O_PATH)
    if fd is None:
        return {}
    path = f"/proc/self/fd/{fd}"  # a link of the kernel's own: it leads to the file itself, be that a link
    try:
        names = [one for one in os.listxattr(path) if not one.startswith(PRIVATE)]
        return {one: os.getxattr(path, one) for one in names}
    except OSError:
        return {}
    finally:
        os.close(fd)


def content(found: Found) -> Iterator[bytes]:
    """What a regular file holds; nothing when it is none any more."""
    fd = opened(found.parent, found.name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    if fd is None:
        return
    try:
        if os.fstat(fd).st_ino == found.status.st_ino:
            while part := os.read(fd, _CHUNK):
                yield part
    finally:
        os.close(fd)
