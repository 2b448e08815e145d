"""The opposite of `apply`: what a snapshot changed, as a layer's tar stream.

Two ways to see a change. An overlay's upper directory *is* the change: its 0:0 character devices are removals,
its opaque directories hide what is below. Two whole directories are compared, entry by entry; file contents
only where size and modification time leave a doubt. Both give OCI whiteouts (image-spec, layer.md).

Nothing is followed out of the directory: links are read, never walked. Written with the standard library's tarfile,
in a process of its own (cmd/pack.py). Imports: tarfile, os.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import stat
import tarfile
from collections.abc import Iterator
from typing import IO

_OPAQUE_NAME = ".wh..wh..opq"
_WHITEOUT = ".wh."
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_PRIVATE = ("trusted.overlay.", "user.overlay.")
_SECOND = 1_000_000_000


class Packer:
    """Writes one layer to `out`; `newest` (seconds since 1970) is the latest time that is told, -1: any."""

    def __init__(self, out: IO[bytes], newest: int = -1) -> None:
        self._tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT)
        self._newest = newest
        self._links: dict[tuple[int, int], str] = {}

    def close(self) -> None:
        """The archive's end mark."""
        self._tar.close()

    def upper(self, directory: str) -> None:
        """The change that an overlay's upper directory is. Raises OSError."""
        for path, name, status in _walk(directory, ""):
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                self._whiteout(name)
            else:
                self._add(path, name, status)
                if stat.S_ISDIR(status.st_mode) and _is_opaque(path):
                    self._mark(f"{name}/{_OPAQUE_NAME}", status)

    def changes(self, old: str, new: str) -> None:
        """What is different in the directory `new`. Raises OSError."""
        for path, name, status in _walk(new, ""):
            before = _status(f"{old}/{name}")
            if before is None or not _same(f"{old}/{name}", before, path, status):
                self._add(path, name, status)
            if before is not None and stat.S_ISDIR(before.st_mode) and stat.S_ISDIR(status.st_mode):
                self._removals(f"{old}/{name}", path, f"{name}/")
        self._removals(old, new, "")

    def _removals(self, old: str, new: str, prefix: str) -> None:
        for name in sorted(os.listdir(old)):
            if _status(f"{new}/{name}") is None:
                self._whiteout(prefix + name)

    def _whiteout(self, name: str) -> None:
        parent, slash, last = name.rpartition("/")
        self._tar.addfile(tarfile.TarInfo(f"{parent}{slash}{_WHITEOUT}{last}"))

    def _mark(self, name: str, status: os.stat_result) -> None:
        member = tarfile.TarInfo(name)
        member.mode, member.uid, member.gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
        self._tar.addfile(member)

    def _add(self, path: str, name: str, status: os.stat_result) -> None:
        if stat.S_ISSOCK(status.st_mode):
            return  # tar has no type for sockets; they mean nothing in another container
        member = tarfile.TarInfo(name)
        member.mode, member.uid, member.gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
        member.type = _kind(status.st_mode)
        records = self._time(member, status)
        identity = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if identity in self._links:
                member.type, member.linkname = tarfile.LNKTYPE, self._links[identity]
                self._tar.addfile(member)
                return
            self._links[identity] = name
        if member.type == tarfile.SYMTYPE:
            member.linkname = os.readlink(path)
        elif member.type in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            member.devmajor, member.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        member.pax_headers = records | _xattrs(path)
        if member.type == tarfile.REGTYPE:
            member.size = status.st_size
            with open(path, "rb", opener=_no_follow) as file:
                self._tar.addfile(member, file)
        else:
            self._tar.addfile(member)

    def _time(self, member: tarfile.TarInfo, status: os.stat_result) -> dict[str, str]:
        seconds, nanoseconds = divmod(status.st_mtime_ns, _SECOND)
        if 0 <= self._newest <= seconds:
            seconds, nanoseconds = self._newest, 0
        member.mtime = seconds
        return {"mtime": f"{seconds}.{nanoseconds:09}".rstrip("0")} if nanoseconds else {}


def _walk(directory: str, prefix: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """(path, name in the layer, status) of everything below, parents first, names in order."""
    todo = [(directory, prefix)]
    while todo:
        here, start = todo.pop()
        below = []
        for name in sorted(os.listdir(here)):
            path = f"{here}/{name}"
            status = os.lstat(path)
            yield path, start + name, status
            if stat.S_ISDIR(status.st_mode):
                below.append((path, f"{start}{name}/"))
        todo += reversed(below)


def _status(path: str) -> os.stat_result | None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return os.lstat(path)
    return None


def _kind(mode: int) -> bytes:
    kinds = (
        (stat.S_ISREG, tarfile.REGTYPE), (stat.S_ISDIR, tarfile.DIRTYPE), (stat.S_ISLNK, tarfile.SYMTYPE),
        (stat.S_ISCHR, tarfile.CHRTYPE), (stat.S_ISBLK, tarfile.BLKTYPE), (stat.S_ISFIFO, tarfile.FIFOTYPE),
    )  # fmt: skip
    return next(kind for fits, kind in kinds if fits(mode))


def _same(old: str, before: os.stat_result, new: str, now: os.stat_result) -> bool:
    facts = ("st_mode", "st_uid", "st_gid", "st_rdev")
    if any(getattr(before, fact) != getattr(now, fact) for fact in facts) or _xattrs(old) != _xattrs(new):
        return False
    if stat.S_ISLNK(now.st_mode):
        return os.readlink(old) == os.readlink(new)
    if not stat.S_ISREG(now.st_mode):
        return True
    if before.st_size != now.st_size:
        return False
    return before.st_mtime_ns == now.st_mtime_ns or filecmp.cmp(old, new, shallow=False)


def _is_opaque(path: str) -> bool:
    for name in _OPAQUE:
        with contextlib.suppress(OSError):
            if os.getxattr(path, name, follow_symlinks=False) == b"y":
                return True
    return False


def _xattrs(path: str) -> dict[str, str]:
    """As PAX records; overlayfs's own are not part of the content."""
    found = {}
    with contextlib.suppress(OSError):
        for name in os.listxattr(path, follow_symlinks=False):
            if not name.startswith(_PRIVATE):
                value = os.getxattr(path, name, follow_symlinks=False)
                found[f"SCHILY.xattr.{name}"] = value.decode("utf-8", "surrogateescape")
    return found


def _no_follow(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
