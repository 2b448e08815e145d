"""Looking into a container's file system before it runs: as a detached, read-only mount that no path reaches.

The snapshot's layers are mounted as a file descriptor of ours (fsopen, fsmount) and walked with openat2 and
RESOLVE_IN_ROOT, so that no link of the image leads out of it. Imports: linux.syscalls.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence

from hakobune.errors import InvalidArgument
from hakobune.linux import syscalls
from hakobune.spec.mount import Mount

RESOLVE_IN_ROOT = 0x10
RESOLVE_NO_MAGICLINKS = 0x02
_LONGEST_OPTION = 255  # bytes of one value, fsconfig(2)
_MOST = 1 << 20  # bytes of a passwd or group file that are read


@contextlib.contextmanager
def opened(mounts: Sequence[Mount]) -> Iterator[int]:
    """A directory descriptor of the root that `mounts` describe; writes are refused. Raises OSError."""
    fd = _open(mounts)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def opened_of(pid: int) -> Iterator[int]:
    """The root of a running container, by its init process. Raises OSError."""
    fd = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _open(mounts: Sequence[Mount]) -> int:
    last = mounts[-1]
    if last.type != "overlay":
        return os.open(last.source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    options = dict(option.partition("=")[::2] for option in last.options)
    layers = [options["upperdir"]] if "upperdir" in options else []
    layers += options["lowerdir"].split(":")
    if len(layers) == 1:
        return os.open(layers[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _overlay([("lowerdir+", layer) for layer in layers])
    except OSError as err:
        if err.errno != errno.EINVAL:
            raise
        return _overlay_of_old(layers)


def _overlay(options: Sequence[tuple[str, str]]) -> int:
    context = syscalls.fsopen("overlay")
    try:
        for key, value in options:
            syscalls.fsconfig_string(context, key, value)
        syscalls.fsconfig_create(context)
        return syscalls.fsmount(context, syscalls.MOUNT_ATTR_RDONLY)
    finally:
        os.close(context)


def _overlay_of_old(layers: Sequence[str]) -> int:
    """Before Linux 6.5 all layers are one option, and fsconfig(2) takes 255 bytes: descriptors make short names."""
    with contextlib.ExitStack() as stack:
        names = []
        for layer in layers:
            fd = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            names.append(f"/proc/self/fd/{fd}")
        value = ":".join(names)
        if len(value) > _LONGEST_OPTION:
            raise InvalidArgument(
                f"{len(layers)} layers are more than this kernel can look into (Linux 6.5 can)"
            )
        return _overlay([("lowerdir", value)])


def read(root: int, path: str) -> str:
    """A text file inside, empty when it is not there or no regular file."""
    try:
        fd = syscalls.openat2(
            root, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
        )
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        return os.read(fd, _MOST).decode("utf-8", "replace")
    finally:
        os.close(fd)


def directory(root: int, path: str) -> int | None:
    """A descriptor of a directory inside; None when there is none."""
    try:
        return syscalls.openat2(
            root,
            path,
            os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC,
            0,
            RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
        )
    except OSError:
        return None


def copy_up(mounts: Sequence[Mount], path: str, target: str) -> None:
    """Fill the empty directory `target` of the host with what the image has at `path`; owner and mode too.

    A new named volume begins with the image's content, as Docker's do. Nothing happens when the image has no
    directory there. Raises OSError, with `target` emptied again.
    """
    with opened(mounts) as root:
        source = directory(root, path)
        if source is None:
            return
        try:
            _copy_tree(source, target)
        except OSError:
            _empty(target)
            raise
        finally:
            os.close(source)


def _copy_tree(source: int, target: str) -> None:
    for entry in os.scandir(source):
        _copy_entry(source, entry, f"{target}/{entry.name}")
    _copy_status(source, target)


def _copy_entry(source: int, entry: os.DirEntry[str], target: str) -> None:
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        os.mkdir(target)
        inner = os.open(
            entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source
        )
        try:
            _copy_tree(inner, target)
        finally:
            os.close(inner)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(entry.name, dir_fd=source), target)
        os.lchown(target, status.st_uid, status.st_gid)
    elif stat.S_ISREG(status.st_mode):
        fd = os.open(entry.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        with open(fd, "rb") as content, open(target, "xb") as copy:
            shutil.copyfileobj(content, copy, 1 << 20)
            _copy_status(content.fileno(), target)
    else:
        os.mknod(target, status.st_mode, status.st_rdev)
        os.lchown(target, status.st_uid, status.st_gid)


def _copy_status(source: int, target: str) -> None:
    status = os.fstat(source)
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        if not name.startswith(("trusted.overlay.", "security.selinux")):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _empty(target: str) -> None:
    for entry in os.scandir(target):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            os.unlink(entry.path)


def check_target(path: str) -> str:
    """A path that can be looked up. Raises InvalidArgument."""
    if "\0" in path:
        raise InvalidArgument(f"invalid path: {path!r}")
    return path
