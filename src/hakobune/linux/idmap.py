"""A user namespace that nobody is in, for mounts whose owners are shown through its maps.

Source: man 2 mount_setattr (MOUNT_ATTR_IDMAP), man 7 user_namespaces. Imports: os, linux.syscalls.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from hakobune.linux import syscalls as sys

Line = tuple[int, int, int]  # first id inside, first id outside, how many


def user_namespace(uids: Iterable[Line], gids: Iterable[Line]) -> int:
    """Its descriptor. Raises OSError, EINVAL for maps that the kernel does not take."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    ready, go = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _wait_in_one(reading, writing, ready, go)
    os.close(writing)
    os.close(ready)
    try:
        said = os.read(reading, 16)
        if said != b"0":
            raise OSError(int(said or b"5"), os.strerror(int(said or b"5")), "user namespace")
        write(pid, uids, gids)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(reading)
        os.close(go)
        os.waitpid(pid, 0)


def write(pid: int, uids: Iterable[Line], gids: Iterable[Line]) -> None:
    """The maps of the user namespace that a process is in, once. Raises OSError, EINVAL for what the kernel does not take."""
    uids, gids = tuple(uids), tuple(gids)
    if os.geteuid() != 0:
        if max(len(uids), len(gids)) > 1 or any(size > 1 for _in, _out, size in (*uids, *gids)):
            _by_programs(pid, uids, gids)
            return
        _deny_setgroups(pid)
    for name, lines in (("uid_map", uids), ("gid_map", gids)):
        text = "".join(f"{inside} {outside} {size}\n" for inside, outside, size in lines)
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        except OSError as err:
            raise OSError(err.errno, f"{name} {text.splitlines()}: {(err.strerror or '').lower()}") from err
        finally:
            os.close(fd)


def _deny_setgroups(pid: int) -> None:
    """Without it an unprivileged user may not map a group (user_namespaces(7), Linux 3.19)."""
    fd = os.open(f"/proc/{pid}/setgroups", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"deny")
    finally:
        os.close(fd)


def _by_programs(pid: int, uids: Iterable[Line], gids: Iterable[Line]) -> None:
    """newuidmap(1) and newgidmap(1), which look into /etc/subuid and /etc/subgid. Raises OSError."""
    for name, lines in (("newuidmap", uids), ("newgidmap", gids)):
        words = [name, str(pid), *(str(number) for line in lines for number in line)]
        try:
            child = os.posix_spawnp(name, words, os.environ)
        except FileNotFoundError as err:
            raise OSError(err.errno, "is needed for a map of more than the user alone", name) from err
        if os.waitpid(child, 0)[1]:
            raise OSError(1, "the map was refused: /etc/subuid and /etc/subgid have to have it", name)


def _wait_in_one(reading: int, writing: int, ready: int, go: int) -> None:
    """The child: say how it went, end with the parent's end of the pipe."""
    try:
        os.close(reading)
        os.close(go)
        try:
            sys.unshare(sys.CLONE_NEWUSER)
            os.write(writing, b"0")
        except OSError as err:
            os.write(writing, b"%d" % (err.errno or 5))
        os.read(ready, 1)
    finally:
        os._exit(0)
