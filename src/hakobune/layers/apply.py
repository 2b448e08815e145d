"""Unpacking a layer's tar stream onto a directory: everything an archive may hold, nothing outside it.

Names are cleaned as text (`..` may not lead out), then walked by the kernel: a parent directory is opened
with openat2(RESOLVE_IN_ROOT), so symbolic links in the layer mean what they would mean in the container;
the last component is never followed. All else happens relative to that descriptor. User and group names
in the archive are not looked up: numbers count.

Whiteouts (OCI image-spec, layer.md) become what overlayfs reads (`overlay`: a 0:0 character device, the
opaque attribute) or are carried out on the spot (`plain`), or are files as any other (`none`). They speak of lower
layers only: what this very layer brought stays.

Refused: a path out of the root, wrong ids, links without target. Tolerated as Docker does: extended
attributes that the file system does not take (ENOTSUP, EPERM). Dropped: overlayfs's own attributes, with
which an image could reach into other layers.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from hakobune.errors import HakoError, InvalidArgument, ResourceExhausted
from hakobune.layers import decompress, tar
from hakobune.layers.ahead import ahead
from hakobune.layers.clearing import remove_tree
from hakobune.layers.contents import set_xattrs, write_all, write_sparse
from hakobune.linux import syscalls

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_META = ".wh..wh."  # aufs's own bookkeeping: not part of a layer's content
_OPAQUE_XATTR = "trusted.overlay.opaque"
_IN_ROOT = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_ID = 0xFFFFFFFE  # 2**32 - 1 means "no change" to chown(2)
_MAX_DIRECTORIES = 4_000_000
_FULL = (errno.ENOSPC, errno.EDQUOT)
_INVALID = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.ENOENT, errno.EINVAL, errno.EMLINK)

OVERLAY, PLAIN, NONE = "overlay", "plain", "none"


@dataclass(frozen=True, slots=True)
class Applied:
    """`digest` (the diff id) and `size` of the uncompressed stream; `content`: bytes of file data in it."""

    digest: str
    size: int
    content: int


def clean(name: str) -> str:
    """A member's name relative to the root, without `.`, `..` or slashes at the ends; `` is the root itself.

    Raises InvalidArgument when it leads out, or holds a NUL.
    """
    if "\0" in name:
        raise InvalidArgument(f"tar archive: name {name!r} holds a NUL")
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                raise InvalidArgument(f"tar archive: {name!r} leads out of the root")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


class Unpacker:
    """One layer onto one directory. Use as a context manager; not for two streams."""

    def __init__(self, target: str, *, whiteouts: str = OVERLAY) -> None:
        """Raises OSError, InvalidArgument (unknown `whiteouts`)."""
        if whiteouts not in (OVERLAY, PLAIN, NONE):
            raise InvalidArgument(f"whiteouts {whiteouts!r} is neither overlay nor plain nor none")
        self._overlay = whiteouts == OVERLAY
        self._plain = whiteouts == PLAIN
        self._parent: tuple[str, int] | None = None
        self._times: dict[str, int] = {}
        self._brought: set[str] = set()  # only for plain whiteouts
        self.implied = {""}  # directories that the layer has, and has not told of so far
        self.size = 0
        self._root = os.open(target, _DIRECTORY)

    def __enter__(self) -> Unpacker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all descriptors; twice is silent."""
        self._forget_parent()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    # one entry ------------------------------------------------------------------------------------

    def add(self, entry: tar.Entry, data: Iterator[bytes]) -> None:
        """Lay down one member. Raises InvalidArgument, ResourceExhausted (disk full), OSError."""
        try:
            self._add(entry, data)
        except OSError as err:
            raise _translated(err, entry.name) from err

    def _add(self, entry: tar.Entry, data: Iterator[bytes]) -> None:
        path = clean(entry.name)
        if not (0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID):
            raise InvalidArgument(f"tar archive: {entry.name!r} has owner {entry.uid}:{entry.gid}")
        if not path:
            if entry.kind == tar.DIRECTORY:
                self._settle_directory(os.dup(self._root), entry)
                self._told(path, entry)
            return
        directory, _, name = path.rpartition("/")
        if name.startswith(_WHITEOUT) and (self._overlay or self._plain):
            self._whiteout(directory, name)
            return
        if self._plain:
            self._remember(path)
        parent = self._open_parent(directory)
        self._make(entry, path, parent, name, data)

    def _remember(self, path: str) -> None:
        while path and path not in self._brought:
            self._brought.add(path)
            path = path.rpartition("/")[0]

    def _make(self, entry: tar.Entry, path: str, parent: int, name: str, data: Iterator[bytes]) -> None:
        match entry.kind:
            case tar.DIRECTORY:
                self._directory(entry, path, parent, name)
            case tar.REGULAR:
                self._regular(entry, parent, name, data)
            case tar.HARD_LINK:
                self._hard_link(entry, parent, name)
            case tar.SYMLINK:
                self._fresh(parent, name, lambda: os.symlink(entry.link, name, dir_fd=parent))
                self._settle_node(entry, parent, name)
            case _:
                self._node(entry, parent, name)

    def _fresh(self, parent: int, name: str, make: Callable[[], None]) -> None:
        """Run `make`; when the name is taken, clear it away first."""
        try:
            make()
        except FileExistsError:
            self._clear(parent, name)
            make()

    def _clear(self, parent: int, name: str) -> None:
        self._forget_parent_below(parent)
        remove_tree(parent, name)

    def _directory(self, entry: tar.Entry, path: str, parent: int, name: str) -> None:
        opaque = False
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                # the new directory must not show what the whiteout hid
                opaque = self._overlay and _is_whiteout(status)
                self._clear(parent, name)
                os.mkdir(name, 0o700, dir_fd=parent)
        fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        if opaque:
            os.setxattr(fd, _OPAQUE_XATTR, b"y")
        self._settle_directory(fd, entry)
        self._told(path, entry)

    def _told(self, path: str, entry: tar.Entry) -> None:
        self._bound()
        self.implied.discard(path)
        self._times[path] = entry.mtime_ns

    def _bound(self) -> None:
        if len(self._times) + len(self.implied) > _MAX_DIRECTORIES:
            raise InvalidArgument(f"tar archive: more than {_MAX_DIRECTORIES} directories")

    def _settle_directory(self, fd: int, entry: tar.Entry) -> None:
        try:
            os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
            set_xattrs(fd, entry.xattrs)
        finally:
            os.close(fd)

    def _regular(self, entry: tar.Entry, parent: int, name: str, data: Iterator[bytes]) -> None:
        try:
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        except FileExistsError:
            self._clear(parent, name)
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            if entry.segments is None:
                for chunk in data:
                    write_all(fd, chunk)
            else:
                write_sparse(fd, entry, data)
            self.size += entry.stored
            # in this order: chown takes away setuid bits and security.capability
            os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
            set_xattrs(fd, entry.xattrs)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _hard_link(self, entry: tar.Entry, parent: int, name: str) -> None:
        target = clean(entry.link)
        directory, _, base = target.rpartition("/")
        if not base:
            raise InvalidArgument(f"tar archive: {entry.name!r} is a hard link to the root")
        source = syscalls.openat2(self._root, directory or ".", os.O_PATH | os.O_DIRECTORY, resolve=_IN_ROOT)
        try:
            here, there = os.stat(base, dir_fd=source, follow_symlinks=False), _status(parent, name)
            if stat.S_ISDIR(here.st_mode):
                raise InvalidArgument(f"tar archive: {entry.name!r} is a hard link to a directory")
            if there is not None and (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                return
            self._fresh(parent, name, lambda: os.link(
                base, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False))  # fmt: skip
        finally:
            os.close(source)

    def _node(self, entry: tar.Entry, parent: int, name: str) -> None:
        kinds = {tar.CHARACTER: stat.S_IFCHR, tar.BLOCK_DEVICE: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}
        if not (0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):
            raise InvalidArgument(f"tar archive: {entry.name!r} is device {entry.major}:{entry.minor}")
        device = os.makedev(entry.major, entry.minor)
        mode = kinds[entry.kind] | 0o600
        self._fresh(parent, name, lambda: os.mknod(name, mode, device, dir_fd=parent))
        self._settle_node(entry, parent, name)

    def _settle_node(self, entry: tar.Entry, parent: int, name: str) -> None:
        """Owner, mode, attributes and time of what must not be opened."""
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.kind != tar.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=parent)
        if entry.xattrs:
            set_xattrs(f"/proc/self/fd/{parent}/{name}", entry.xattrs)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    # parents --------------------------------------------------------------------------------------

    def _open_parent(self, directory: str) -> int:
        """Descriptor of a parent directory, made when it is missing; kept until another one is asked for."""
        if self._parent is not None and self._parent[0] == directory:
            return self._parent[1]
        self._forget_parent()
        try:
            fd = self._walk(directory)
        except FileNotFoundError:
            self._make_parents(directory)
            fd = self._walk(directory)
        self._parent = (directory, fd)
        return fd

    def _walk(self, directory: str) -> int:
        return syscalls.openat2(self._root, directory or ".", _DIRECTORY, resolve=_IN_ROOT)

    def _make_parents(self, directory: str) -> None:
        """Every missing directory on the way, root's with mode 0755: until `settle`."""
        done: list[str] = []
        for part in directory.split("/"):
            above = self._walk("/".join(done))
            done.append(part)
            try:
                os.mkdir(part, 0o700, dir_fd=above)
            except FileExistsError:
                continue
            else:
                os.chmod(part, 0o755, dir_fd=above)
                self._bound()
                self.implied.add("/".join(done))
            finally:
                os.close(above)

    def _forget_parent(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None

    def _forget_parent_below(self, parent: int) -> None:
        """Something is about to be removed: a kept descriptor other than `parent` may point into it."""
        if self._parent is not None and self._parent[1] != parent:
            self._forget_parent()

    # whiteouts ------------------------------------------------------------------------------------

    def _whiteout(self, directory: str, name: str) -> None:
        if name == _OPAQUE:
            self._opaque(directory)
            return
        if name.startswith(_META):
            return
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in ("", ".", ".."):
            raise InvalidArgument(f"tar archive: whiteout {name!r} names nothing")
        parent = self._open_parent(directory)
        if self._overlay:
            self._hide(parent, hidden)
        elif f"{directory}/{hidden}".lstrip("/") not in self._brought:
            self._clear(parent, hidden)

    def _hide(self, parent: int, name: str) -> None:
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):  # this layer's own: it stays, and hides the one below
                fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
                try:
                    os.setxattr(fd, _OPAQUE_XATTR, b"y")
                finally:
                    os.close(fd)

    def _opaque(self, directory: str) -> None:
        parent = self._open_parent(directory)
        if self._overlay:
            os.setxattr(parent, _OPAQUE_XATTR, b"y")
            return
        self._sweep(directory)

    def _sweep(self, directory: str) -> None:
        """Remove what lies in a directory and below, but for what this layer brought."""
        left = [directory]
        while left:
            path = left.pop()
            fd = self._walk(path)
            try:
                for name in os.listdir(fd):
                    child = f"{path}/{name}".lstrip("/")
                    if child not in self._brought:
                        remove_tree(fd, name)
                    elif stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                        left.append(child)
            finally:
                os.close(fd)

    # end ------------------------------------------------------------------------------------------

    def settle(self, lowers: Sequence[str]) -> None:
        """`lowers`: roots of the layers below, top first. A directory that this layer has left out takes its owner, mode
        and time from the first that has it. Raises OSError."""
        with contextlib.ExitStack() as stack:
            roots = []
            for lower in lowers:
                roots.append(os.open(lower, _DIRECTORY))
                stack.callback(os.close, roots[-1])
            for path in self.implied:
                below = _first(roots, path)
                if below is not None:
                    self._settle(path, below)

    def _settle(self, path: str, below: os.stat_result) -> None:
        with self._again(path) as fd:
            if fd >= 0:
                os.fchown(fd, below.st_uid, below.st_gid)
                os.fchmod(fd, stat.S_IMODE(below.st_mode))
                self._times[path] = below.st_mtime_ns

    def finish(self) -> None:
        """Set the times of directories, deepest first; those that were replaced meanwhile are left alone."""
        self._forget_parent()
        for path, mtime in sorted(self._times.items(), reverse=True):
            with self._again(path) as fd:
                if fd >= 0:
                    os.utime(fd, ns=(mtime, mtime))

    @contextlib.contextmanager
    def _again(self, path: str) -> Iterator[int]:
        """A directory that was made or met before; -1 when something else has its place now."""
        try:
            fd = syscalls.openat2(self._root, path or ".", _DIRECTORY | os.O_NOFOLLOW, resolve=_IN_ROOT)
        except OSError as err:
            if err.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            yield -1
            return
        try:
            yield fd
        finally:
            os.close(fd)


def _first(roots: Sequence[int], path: str) -> os.stat_result | None:
    """The directory `path` in the first of the roots that has it."""
    for root in roots:
        try:
            fd = syscalls.openat2(root, path or ".", os.O_PATH | os.O_DIRECTORY, resolve=_IN_ROOT)
        except OSError:
            continue
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)
    return None


def _translated(err: OSError, name: str) -> HakoError | OSError:
    if err.errno in _FULL:
        return ResourceExhausted(f"no space left for {name!r}")
    if err.errno in _INVALID:
        return InvalidArgument(f"tar archive: {name!r}: {err.strerror}")
    return OSError(err.errno, err.strerror, name)


def _status(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _counted(chunks: Iterator[bytes], digest: hashlib._Hash, most: int) -> Iterator[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if most and total > most:
            raise ResourceExhausted(f"layer unpacks to more than {most} bytes")
        digest.update(chunk)
        yield chunk


def apply(
    source: BinaryIO,
    target: str,
    *,
    whiteouts: str = OVERLAY,
    lowers: Callable[[], Sequence[str]] = tuple,
    most: int = 0,
) -> Applied:
    """Unpack a (possibly compressed) tar stream onto the directory `target`, reading it to its end.

    `lowers`: see Unpacker.settle; asked at the end, and only when it matters. `most`: limit in bytes of the uncompressed
    stream, 0 for none. Raises InvalidArgument (no tar archive, damaged, cut, or hostile), ResourceExhausted (disk full,
    limit), Unimplemented (compression), OSError. After an error the target holds what had come so far; the caller
    throws it away.
    """
    digest = hashlib.sha256()
    umask = os.umask(0)
    try:
        with (
            contextlib.closing(ahead(_counted(decompress.chunks(source), digest, most))) as chunks,
            Unpacker(target, whiteouts=whiteouts) as unpacker,
        ):
            reader = tar.Reader(chunks)
            for entry in reader:
                unpacker.add(entry, reader.data())
            size = reader.drain()
            if unpacker.implied:
                unpacker.settle(lowers())
            unpacker.finish()
            return Applied("sha256:" + digest.hexdigest(), size, unpacker.size)
    finally:
        os.umask(umask)
