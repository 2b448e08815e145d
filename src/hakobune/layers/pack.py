"""The opposite of `apply`: what a snapshot changed, as a layer's tar stream.

Two ways to see a change. An overlay's upper directory *is* the change: its 0:0 character devices are removals,
its opaque directories hide what is below. Two whole directories are compared, entry by entry; file contents
only where size and modification time leave a doubt. Both give OCI whiteouts (image-spec, layer.md).

The directory may be that of a running container: it is walked by descriptors (`walk`), and nothing is followed.
Runs in a process of its own (cmd/pack.py). Imports: os, linux.syscalls.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from itertools import zip_longest

from hakobune.layers import walk
from hakobune.layers.members import Out, Writer
from hakobune.layers.tar import HARD_LINK, REGULAR, Entry
from hakobune.layers.walk import Found
from hakobune.linux import syscalls

_OPAQUE_NAME = ".wh..wh..opq"
_WHITEOUT = ".wh."
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_SECOND = 1_000_000_000
_WITHIN = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS


class Packer:
    """Writes one layer to `out`; `newest` (seconds since 1970) is the latest time that is told, -1: any."""

    def __init__(self, out: Out, newest: int = -1) -> None:
        self._tar = Writer(out)
        self._newest = newest
        self._links: dict[tuple[int, int], str] = {}

    def close(self) -> None:
        """The archive's end mark."""
        self._tar.close()

    def upper(self, directory: str) -> None:
        """The change that an overlay's upper directory is. Raises OSError."""
        with _directory(directory) as root:
            for found in walk.walk(root):
                if is_whiteout(found.status):
                    self._whiteout(found.path)
                    continue
                self.add(found, found.path)
                if stat.S_ISDIR(found.status.st_mode) and is_opaque(found):
                    self._mark(f"{found.path}/{_OPAQUE_NAME}", found.status)

    def changes(self, old: str, new: str) -> None:
        """What is different in the directory `new`. Raises OSError."""
        with _directory(old) as before, _directory(new) as after:
            self._removals(before, after, "")
            for found in walk.walk(after):
                old_one = lookup(before, found.path)
                if old_one is None or not _same(old_one, found):
                    self.add(found, found.path)
                both = old_one is not None and stat.S_ISDIR(old_one.status.st_mode)
                if both and stat.S_ISDIR(found.status.st_mode):
                    self._removals(before, after, f"{found.path}/")
                if old_one is not None:
                    os.close(old_one.parent)

    def _removals(self, before: int, after: int, prefix: str) -> None:
        fd = syscalls.openat2(before, prefix or ".", os.O_RDONLY | os.O_DIRECTORY, resolve=_WITHIN)
        try:
            names = sorted(os.listdir(fd))
        finally:
            os.close(fd)
        for name in names:
            there = lookup(after, prefix + name)
            if there is None:
                self._whiteout(prefix + name)
            else:
                os.close(there.parent)

    def _whiteout(self, name: str) -> None:
        parent, slash, last = name.rpartition("/")
        self._tar.add(Entry(f"{parent}{slash}{_WHITEOUT}{last}", REGULAR, 0o644, 0, 0, 0))

    def _mark(self, name: str, status: os.stat_result) -> None:
        mode = stat.S_IMODE(status.st_mode)
        self._tar.add(Entry(name, REGULAR, mode, status.st_uid, status.st_gid, 0))

    def add(self, found: Found, name: str) -> None:
        """One file under `name`; a hard link when it was added under another one before. Raises OSError."""
        entry = walk.entry(found, name)
        if entry is None:
            return
        if 0 <= self._newest * _SECOND <= entry.mtime_ns:
            entry.mtime_ns = self._newest * _SECOND
        if found.status.st_nlink > 1 and not stat.S_ISDIR(found.status.st_mode):
            first = self._links.setdefault(found.identity, name)
            if first != name:
                entry.kind, entry.link, entry.size, entry.xattrs = HARD_LINK, first, 0, {}
        self._tar.add(entry, walk.content(found) if entry.kind == REGULAR else ())


@contextlib.contextmanager
def _directory(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def lookup(root: int, path: str) -> Found | None:
    """The file at `path`, no link on the way followed; `parent` is the caller's to close. None when there is none."""
    above, _, name = path.rpartition("/")
    try:
        parent = syscalls.openat2(root, above or ".", os.O_PATH | os.O_DIRECTORY, resolve=_WITHIN)
    except OSError:
        return None
    try:
        return Found(parent, name, path, os.stat(name, dir_fd=parent, follow_symlinks=False))
    except OSError:
        os.close(parent)
        return None


def is_whiteout(status: os.stat_result) -> bool:
    """Overlayfs's word for "removed"."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(found: Found) -> bool:
    """Whether an overlay's directory hides those below it."""
    fd = walk.opened(found.parent, found.name, os.O_RDONLY | os.O_DIRECTORY)
    if fd is None:
        return False
    try:
        for name in _OPAQUE:
            with contextlib.suppress(OSError):
                if os.getxattr(fd, name) == b"y":
                    return True
        return False
    finally:
        os.close(fd)


def _same(before: Found, now: Found) -> bool:
    facts = ("st_mode", "st_uid", "st_gid", "st_rdev")
    old, new = before.status, now.status
    if any(getattr(old, fact) != getattr(new, fact) for fact in facts):
        return False
    if walk.xattrs(before.parent, before.name) != walk.xattrs(now.parent, now.name):
        return False
    if stat.S_ISLNK(new.st_mode):
        return os.readlink(before.name, dir_fd=before.parent) == os.readlink(now.name, dir_fd=now.parent)
    if not stat.S_ISREG(new.st_mode):
        return True
    if old.st_size != new.st_size:
        return False
    return old.st_mtime_ns == new.st_mtime_ns or _equal(before, now)


def _equal(before: Found, now: Found) -> bool:
    return all(old == new for old, new in zip_longest(walk.content(before), walk.content(now)))
