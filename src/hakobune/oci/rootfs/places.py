"""Where a mount goes: the descriptor of its place, and what may not lie over /proc.

What the kernel tells and takes is what masks, read-only paths, labels and sysctls are about. An image whose /proc, /sys or
/dev is a link into a volume, or a volume over them, would have those look at something that others can change
meanwhile (CVE-2019-16884, CVE-2019-19921, CVE-2023-28642): so there are no links on the way to the three, and only what
is lent to a container to make it see its own share lies over files in /proc. Imports: os, errno; safepath.
"""

from __future__ import annotations

import errno
import os

from hakobune.oci.rootfs import safepath

_THE_KERNELS = frozenset(("/proc", "/sys", "/dev"))
# What lxcfs and its like show in the kernel's place, as runc has it.
_LENT = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo",
        "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled",
    )
)  # fmt: skip


def directory(root: int, target: str) -> int:
    """An O_PATH descriptor of the directory `target` inside `root`, made where it is missing. Raises OSError."""
    path = os.path.normpath("/" + target.strip("/"))
    if path not in _THE_KERNELS:
        return safepath.ensure_directory(root, target)
    try:
        return safepath.ensure_directory(root, path, resolve=safepath.IN_ROOT_WITHOUT_LINKS)
    except OSError as err:
        if err.errno not in (errno.ELOOP, errno.EEXIST):
            raise
        raise OSError(err.errno, "must be mounted on an ordinary directory", target) from err


def for_bind(root: int, target: str, tree: int, *, is_directory: bool) -> int:
    """As `directory`, or the file `target`, for what is open at `tree`. Raises OSError, PermissionError in /proc."""
    place = directory(root, target) if is_directory else safepath.ensure_file(root, target)
    try:
        _check(root, place, target, os.fstat(tree).st_dev)
    except OSError:
        os.close(place)
        raise
    return place


def for_file_system(root: int, target: str, kind: str) -> int:
    """As `directory`, for a new file system of that kind. Raises OSError, PermissionError in /proc."""
    place = directory(root, target)
    try:
        if kind != "proc":
            _check(root, place, target, -1)
    except OSError:
        os.close(place)
        raise
    return place


def _check(root: int, place: int, target: str, device: int) -> None:
    """`device` of what is to lie there: the host's own /proc may."""
    inside = _path(place).removeprefix(_path(root).rstrip("/"))
    if inside == "/proc" and device != os.stat("/proc").st_dev:
        raise PermissionError(errno.EPERM, "cannot be mounted because it is not of type proc", target)
    if inside.startswith("/proc/") and inside not in _LENT:
        raise PermissionError(errno.EPERM, "cannot be mounted because it is inside /proc", target)


def _path(fd: int) -> str:
    """Where the kernel sees it, while /proc is the host's."""
    return os.readlink(f"/proc/self/fd/{fd}")
