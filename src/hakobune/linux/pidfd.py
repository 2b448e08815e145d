"""How a process ended that is not our child: what its pidfd tells once it has been reaped.

Linux 6.15 keeps the status of a process for those who held a pidfd of it; before the reap it is in /proc/PID/stat,
where no other process can have taken the pid. Source: <linux/pidfd.h>, man 5 proc_pid_stat (field 52).
Imports: fcntl, struct, os.
"""

from __future__ import annotations

import fcntl
import os
import struct

_GET_INFO = 0xC040FF0B  # _IOWR(PIDFS_IOCTL_MAGIC, 11, 64 bytes)
_INFO_EXIT = 1 << 3
_INFO = struct.Struct("=QQ11Ii")  # mask, cgroupid, pid … fsgid, exit_code


def remembers_exits() -> bool:
    """Whether this kernel tells, by a pidfd, how a process ended that somebody else has reaped. Forks: for a single thread."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    fd = os.pidfd_open(pid)
    try:
        os.waitpid(pid, 0)
        return _reaped(fd) is not None
    finally:
        os.close(fd)


def wait_status(pidfd: int, pid: int) -> int | None:
    """The status of wait(2) of a process that has ended; None while it lives, or where nobody knows it any more."""
    found = _reaped(pidfd)
    if found is not None:
        return found
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fields = os.read(fd, 4096).rpartition(b")")[2].split()
        finally:
            os.close(fd)
    except OSError:
        return _reaped(pidfd)
    return int(fields[49]) if fields[0] in (b"Z", b"X") else _reaped(pidfd)


def _reaped(pidfd: int) -> int | None:
    info = bytearray(_INFO.pack(_INFO_EXIT, *([0] * 13)))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, info)
    except OSError:
        return None
    mask, *_others, code = _INFO.unpack(info)
    return int(code) if mask & _INFO_EXIT else None
