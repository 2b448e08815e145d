"""Paths inside a container's root, walked on descriptors only.

The image and the volumes are the container's: any component may be a symlink, and may be swapped
while we look. Every walk is an openat2(2) with RESOLVE_IN_ROOT from the root's descriptor, every
creation is relative to the descriptor of the parent just opened; a path string is never given to
the kernel twice. Imports: os, linux.syscalls.
"""

from __future__ import annotations

import errno
import os
import stat

from hakobune.linux import syscalls as sys

IN_ROOT = sys.RESOLVE_IN_ROOT | sys.RESOLVE_NO_MAGICLINKS
IN_ROOT_WITHOUT_LINKS = IN_ROOT | sys.RESOLVE_NO_SYMLINKS
_MOST_LINKS = 40  # that name nothing yet, one after another; the kernel's own limit


def open_path(root: int, path: str, flags: int = os.O_PATH, resolve: int = IN_ROOT) -> int:
    """A descriptor of `path` resolved inside `root`. Raises OSError."""
    return sys.openat2(root, path.lstrip("/") or ".", flags, 0, resolve)


def ensure_directory(
    root: int, path: str, mode: int = 0o755, *, resolve: int = IN_ROOT, links: int = _MOST_LINKS
) -> int:
    """An O_PATH descriptor of the directory `path`, made with its parents where missing.

    Where a link stands that names nothing, what it names is made, inside the root as everything.
    """
    try:
        return open_path(root, path, os.O_PATH | os.O_DIRECTORY, resolve)
    except FileNotFoundError:
        pass
    head, _, name = path.strip("/").rpartition("/")
    parent = ensure_directory(root, head, mode, resolve=resolve, links=links)
    try:
        os.mkdir(name, mode, dir_fd=parent)
        return sys.openat2(parent, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, 0, IN_ROOT)
    except FileExistsError:
        target = _target(parent, head, name, resolve, links)
    finally:
        os.close(parent)
    return ensure_directory(root, target, mode, resolve=resolve, links=links - 1)


def ensure_file(root: int, path: str, mode: int = 0o644, *, links: int = _MOST_LINKS) -> int:
    """An O_PATH descriptor of the file `path`; an empty one is made where it is missing. Links as for a directory."""
    try:
        return open_path(root, path)
    except FileNotFoundError:
        pass
    head, _, name = path.rstrip("/").rpartition("/")
    parent = ensure_directory(root, head, links=links)
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode, dir_fd=parent))
        return sys.openat2(parent, name, os.O_PATH | os.O_NOFOLLOW, 0, IN_ROOT)
    except FileExistsError:
        target = _target(parent, head, name, IN_ROOT, links)
    finally:
        os.close(parent)
    return ensure_file(root, target, mode, links=links - 1)


def _target(parent: int, head: str, name: str, resolve: int, links: int) -> str:
    """What the link `name` in `parent`, which is `head`, names; somebody's new file has come meanwhile when it is none."""
    if resolve & sys.RESOLVE_NO_SYMLINKS or links <= 0:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
    try:
        return os.path.join("/", head, os.readlink(name, dir_fd=parent))
    except OSError as err:
        if err.errno != errno.EINVAL:
            raise
        return os.path.join("/", head, name)


def read_small(root: int, path: str, limit: int = 1 << 20) -> bytes:
    """The first `limit` bytes of a regular file inside `root`; b"" when it is not one.

    Opened non-blocking and checked after the opening: a FIFO, a device or an endless file planted
    under the name cannot hold or flood us.
    """
    try:
        fd = open_path(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return b""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b""
        return os.read(fd, limit)
    finally:
        os.close(fd)
