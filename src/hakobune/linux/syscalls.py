"""Thin wrappers of the kernel calls that the standard library does not offer.

What lives here: mount API, path resolution, namespaces, processes by descriptor, capabilities,
seccomp. Each wrapper encodes, calls, and raises `OSError(errno, text, path)`; nothing here decides
anything. Constants carry the name of the header that they come from. `argtypes` are declared once,
at import; nothing is looked up later, because callers run after `pivot_root` where no file of the
host can be read any more. Imports: ctypes, os, struct.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Callable

from hakobune.record import Any

_libc = ctypes.CDLL(None, use_errno=True)
# PyDLL keeps the GIL over the call: a child made by clone3 must come back holding it.
_libc_gil = ctypes.PyDLL(None, use_errno=True)

_MACHINE = os.uname().machine

# <asm/unistd_64.h>; numbers from 424 on are the same everywhere.
_NR_SPECIFIC: dict[str, dict[str, int]] = {
    "x86_64": {
        "rt_sigaction": 13,
        "pivot_root": 155,
        "capget": 125,
        "capset": 126,
        "setns": 308,
        "renameat2": 316,
        "seccomp": 317,
        "keyctl": 250,
    },
    "aarch64": {
        "rt_sigaction": 134,
        "pivot_root": 41,
        "capget": 90,
        "capset": 91,
        "setns": 268,
        "renameat2": 276,
        "seccomp": 277,
        "keyctl": 219,
    },
}
_NR = _NR_SPECIFIC.get(_MACHINE, _NR_SPECIFIC["x86_64"]) | {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "process_madvise": 440,
    "openat2": 437,
    "mount_setattr": 442,
}

# <linux/sched.h>
CLONE_VM = 0x00000100
CLONE_PARENT = 0x00008000
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PIDFD = 0x00001000
CLONE_INTO_CGROUP = 0x200000000

# <linux/mount.h>
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_ATIME = 0x70
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x00100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

# <linux/openat2.h>
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# <linux/prctl.h>
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

# <linux/seccomp.h>
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_LOG = 1 << 1
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1 << 2
SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3

_IOV_MAX = 1024  # <linux/uio.h>
_IOVEC_BYTES = 16
_MADV_POPULATE_WRITE = 23  # <asm-generic/mman-common.h>
_CAP_VERSION_3 = 0x20080522  # <linux/capability.h>


class _CloneArgs(ctypes.Structure):
    """struct clone_args, <linux/sched.h>, up to `cgroup`."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls",
            "set_tid", "set_tid_size", "cgroup",
        )
    ]  # fmt: skip


_libc.syscall.restype = ctypes.c_long
_libc_gil.syscall.restype = ctypes.c_long
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
_libc.unshare.argtypes = [ctypes.c_int]
_libc.setns.argtypes = [ctypes.c_int, ctypes.c_int]
_libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
_libc.sethostname.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
_libc.setdomainname.argtypes = [ctypes.c_char_p, ctypes.c_size_t]

_before_fork: Callable[[], None] = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_parent: Callable[[], None] = ctypes.pythonapi.PyOS_AfterFork_Parent
_after_fork_child: Callable[[], None] = ctypes.pythonapi.PyOS_AfterFork_Child
for _hook in (ctypes.pythonapi.PyOS_BeforeFork, ctypes.pythonapi.PyOS_AfterFork_Parent,
              ctypes.pythonapi.PyOS_AfterFork_Child):  # fmt: skip
    _hook.restype = None
    _hook.argtypes = []


def _fail(path: str | None = None) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), path)


def _entry(*kinds: Any) -> Callable[..., int]:
    """syscall(2) with the types of one call's arguments: told once, they cost a quarter of being told each time."""
    entry = _libc["syscall"]  # a function object of our own
    entry.argtypes = (ctypes.c_long, *kinds)
    entry.restype = ctypes.c_long
    return entry


_N, _P = ctypes.c_long, ctypes.c_void_p  # a number, or memory: bytes, an array, None
_ENTRIES = {
    name: (_NR[name], _entry(*kinds))
    for name, kinds in {
        "capget": (_P, _P),
        "capset": (_P, _P),
        "close_range": (_N, _N, _N),
        "fsconfig": (_N, _N, _P, _P, _N),
        "fsmount": (_N, _N, _N),
        "fsopen": (_P, _N),
        "keyctl": (_N, _P),
        "mount_setattr": (_N, _P, _N, _P, _N),
        "move_mount": (_N, _P, _N, _P, _N),
        "open_tree": (_N, _P, _N),
        "openat2": (_N, _P, _P, _N),
        "pidfd_open": (_N, _N),
        "pidfd_send_signal": (_N, _N, _P, _N),
        "pivot_root": (_P, _P),
        "process_madvise": (_N, _P, _N, _N, _N),
        "renameat2": (_N, _P, _N, _P, _N),
        "rt_sigaction": (_N, _P, _P, _N),
        "seccomp": (_N, _N, _P),
    }.items()
}


def _call(
    name: str, *args: ctypes._SimpleCData[int] | ctypes.Array[ctypes.c_char] | bytes | int | None,
    path: str | None = None,
) -> int:  # fmt: skip
    """syscall(2) by name. Raises OSError naming `path`."""
    number, entry = _ENTRIES[name]
    result = entry(number, *args)
    if result < 0:
        raise _fail(path)
    return result


# --- mounts -------------------------------------------------------------------------------------


def mount(
    source: str | None, target: str, fstype: str | None, flags: int = 0, data: str | None = None
) -> None:
    """mount(2)."""
    encode = os.fsencode
    if _libc.mount(
        encode(source) if source is not None else None,
        encode(target),
        encode(fstype) if fstype is not None else None,
        flags,
        encode(data) if data is not None else None,
    ):
        raise _fail(target)


def umount(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2); detaches by default, so that a busy mount cannot hold us."""
    if _libc.umount2(os.fsencode(target), flags):
        raise _fail(target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    _call("pivot_root", os.fsencode(new_root), os.fsencode(put_old), path=new_root)


def fsopen(fstype: str) -> int:
    """fsopen(2): a configuration context for a new instance of `fstype`."""
    return _call("fsopen", os.fsencode(fstype), FSOPEN_CLOEXEC, path=fstype)


def fsconfig_string(fd: int, key: str, value: str) -> None:
    """fsconfig(2), FSCONFIG_SET_STRING."""
    _call("fsconfig", fd, FSCONFIG_SET_STRING, os.fsencode(key), os.fsencode(value), 0, path=f"{key}={value}")


def fsconfig_flag(fd: int, key: str) -> None:
    """fsconfig(2), FSCONFIG_SET_FLAG."""
    _call("fsconfig", fd, FSCONFIG_SET_FLAG, os.fsencode(key), None, 0, path=key)


def fsconfig_create(fd: int) -> None:
    """fsconfig(2), FSCONFIG_CMD_CREATE: makes the superblock."""
    _call("fsconfig", fd, FSCONFIG_CMD_CREATE, None, None, 0)


def fsmount(fd: int, attr: int = 0) -> int:
    """fsmount(2): a detached mount of the configured file system; closing it unmounts."""
    return _call("fsmount", fd, FSMOUNT_CLOEXEC, attr)


def fs_messages(fd: int) -> str:
    """The kernel's own words about a failed fsconfig or fsmount (read from the context)."""
    lines: list[str] = []
    while True:
        try:
            line = os.read(fd, 1024)
        except OSError:
            return "; ".join(lines)
        lines.append(line.decode("ascii", "replace").strip())


def open_tree(dirfd: int, path: str, flags: int = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC) -> int:
    """open_tree(2): by default a detached copy of the mount at `path`."""
    return _call("open_tree", dirfd, os.fsencode(path), flags, path=path)


def move_mount(from_fd: int, to_fd: int) -> None:
    """move_mount(2) of the mount `from_fd` onto the place `to_fd`, both given as descriptors."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    _call("move_mount", from_fd, b"", to_fd, b"", flags)


def mount_setattr(
    fd: int, *, attr_set: int = 0, attr_clear: int = 0, propagation: int = 0, recursive: bool = False,
    user_namespace: int = 0,
) -> None:  # fmt: skip
    """mount_setattr(2) on the mount at descriptor `fd`; `user_namespace` is a descriptor, for MOUNT_ATTR_IDMAP."""
    attr = struct.pack("=QQQQ", attr_set, attr_clear, propagation, user_namespace)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _call("mount_setattr", fd, b"", flags, attr, len(attr))


# --- files --------------------------------------------------------------------------------------


def openat2(dirfd: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2). `O_CLOEXEC` is always added."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    while True:
        try:
            return _call("openat2", dirfd, os.fsencode(path), how, len(how), path=path)
        except OSError as err:
            # EAGAIN: the path was being renamed while the kernel checked "..": man 2 openat2 asks to retry.
            if err.errno not in (errno.EAGAIN, errno.EINTR):
                raise


def exchange(one: str, other: str) -> None:
    """renameat2(2), RENAME_EXCHANGE: two names of one file system change places in one step."""
    _call("renameat2", -100, os.fsencode(one), -100, os.fsencode(other), 2, path=one)


def close_range(first: int, last: int = 0x7FFFFFFF, *, cloexec: bool = False) -> None:
    """close_range(2); with `cloexec` the descriptors are only marked (CLOSE_RANGE_CLOEXEC)."""
    _call("close_range", first, last, 4 if cloexec else 0)


# --- processes and namespaces ---------------------------------------------------------------------


def unshare(flags: int) -> None:
    """unshare(2)."""
    if _libc.unshare(flags):
        raise _fail()


def setns(fd: int, flags: int = 0) -> None:
    """setns(2); with a pidfd several namespaces are entered at once."""
    if _libc.setns(fd, flags):
        raise _fail()


def pidfd_open(pid: int) -> int:
    """pidfd_open(2)."""
    return _call("pidfd_open", pid, 0)


def populate(vector: mmap.mmap, at: int, count: int) -> None:
    """Have the pages of these `struct iovec`s of ours, as if each were written (MADV_POPULATE_WRITE).

    What cannot be had is left out: to others than ourselves, or before Linux 6.13, the kernel gives nothing.
    """
    handle = pidfd_open(os.getpid())
    place = ctypes.addressof(ctypes.c_char.from_buffer(vector))
    while count > 0:
        some = min(count, _IOV_MAX)
        with contextlib.suppress(OSError):
            _call("process_madvise", handle, place + at, some, _MADV_POPULATE_WRITE, 0)
        count, at = count - some, at + some * _IOVEC_BYTES
    os.close(handle)


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """pidfd_send_signal(2)."""
    _call("pidfd_send_signal", pidfd, signal, None, 0)


def clone3(flags: int, *, cgroup_fd: int = -1) -> int:
    """clone3(2) without a new stack, like fork: 0 in the child, its pid in the parent.

    Only for single-threaded processes. With CLONE_PARENT the exit signal is the caller's own.
    """
    args = _CloneArgs()
    args.flags = flags
    args.exit_signal = 0 if flags & CLONE_PARENT else 17  # SIGCHLD
    if cgroup_fd >= 0:
        args.flags = flags | CLONE_INTO_CGROUP
        args.cgroup = cgroup_fd
    _before_fork()
    result: int = _libc_gil.syscall(
        ctypes.c_long(_NR["clone3"]), ctypes.byref(args), ctypes.c_size_t(ctypes.sizeof(args))
    )
    if result == 0:
        _after_fork_child()
        return 0
    number = ctypes.get_errno()
    _after_fork_parent()
    if result < 0:
        raise OSError(number, os.strerror(number), "clone3")
    return result


_DEFAULT_ACTION = bytes(32)  # struct kernel_sigaction: SIG_DFL, no flags, no restorer, an empty mask


def default_hidden_signals() -> None:
    """rt_sigaction(2) to SIG_DFL for 32 and 33, which the C library hides; a parent may have left them ignored."""
    for number in (32, 33):
        _call("rt_sigaction", number, _DEFAULT_ACTION, None, 8)


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """prctl(2)."""
    result: int = _libc.prctl(option, arg2, arg3, arg4, arg5)
    if result < 0:
        raise _fail()
    return result


def set_process_name(name: str) -> None:
    """PR_SET_NAME: what `ps -o comm` shows, 15 bytes at most. By /proc: a new ctypes buffer costs 200 KiB of pages."""
    fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, os.fsencode(name)[:15])
    finally:
        os.close(fd)


def sethostname(name: str) -> None:
    """sethostname(2)."""
    raw = os.fsencode(name)
    if _libc.sethostname(raw, len(raw)):
        raise _fail(name)


def setdomainname(name: str) -> None:
    """setdomainname(2)."""
    raw = os.fsencode(name)
    if _libc.setdomainname(raw, len(raw)):
        raise _fail(name)


def new_session_keyring() -> None:
    """keyctl(KEYCTL_JOIN_SESSION_KEYRING): a keyring of the container's own."""
    _call("keyctl", 1, None)


# --- privileges -----------------------------------------------------------------------------------


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) for ourselves; each argument is a bit set of capability numbers."""
    header = struct.pack("=Ii", _CAP_VERSION_3, 0)
    sets = (effective, permitted, inheritable)
    data = struct.pack("=6I", *(v & 0xFFFFFFFF for v in sets), *(v >> 32 for v in sets))
    _call("capset", header, data)


def capget() -> tuple[int, int, int]:
    """capget(2) for ourselves: (effective, permitted, inheritable) bit sets."""
    header = struct.pack("=Ii", _CAP_VERSION_3, 0)
    buffer = ctypes.create_string_buffer(24)
    _call("capget", header, buffer)
    low_e, low_p, low_i, high_e, high_p, high_i = struct.unpack("=6I", buffer.raw)
    return low_e | high_e << 32, low_p | high_p << 32, low_i | high_i << 32


def seccomp_load(program: bytes, flags: int = 0) -> int:
    """seccomp(SECCOMP_SET_MODE_FILTER): `program` is an array of struct sock_filter (8 bytes each).

    0, or the listener (close-on-exec) where SECCOMP_FILTER_FLAG_NEW_LISTENER asks for one.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    return _call("seccomp", SECCOMP_SET_MODE_FILTER, flags, fprog)
