"""Namespaces of others, entered by the worker; new ones that have to be made ready; and those of a running container.

The process that the worker clones inherits what the worker is in. Imports: os; linux, oci.rootfs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from hakobune.errors import InvalidArgument, NotFound
from hakobune.linux import idmap
from hakobune.linux import syscalls as sys
from hakobune.oci.config import Config, Namespace
from hakobune.oci.init import privileges
from hakobune.oci.rootfs import hostroot, steps
from hakobune.oci.rootfs import plan as plans
from hakobune.record import replace
from hakobune.spec.mount import Mount

_CLONE_FLAGS = {
    "mount": sys.CLONE_NEWNS,
    "uts": sys.CLONE_NEWUTS,
    "ipc": sys.CLONE_NEWIPC,
    "pid": sys.CLONE_NEWPID,
    "network": sys.CLONE_NEWNET,
    "user": sys.CLONE_NEWUSER,
}
_JOIN_FLAGS = _CLONE_FLAGS | {"cgroup": sys.CLONE_NEWCGROUP, "time": sys.CLONE_NEWTIME}
_FILES = {"mount": "mnt", "uts": "uts", "ipc": "ipc", "pid": "pid_for_children", "network": "net", "cgroup": "cgroup",
          "time": "time_for_children", "user": "user"}  # fmt: skip
_OF_A_PROCESS = {"mnt": sys.CLONE_NEWNS, "pid": sys.CLONE_NEWPID, "uts": sys.CLONE_NEWUTS,
                    "ipc": sys.CLONE_NEWIPC, "net": sys.CLONE_NEWNET, "cgroup": sys.CLONE_NEWCGROUP,
                    "time": sys.CLONE_NEWTIME, "user": sys.CLONE_NEWUSER}  # fmt: skip


Way = tuple[int, int]  # descriptor of a namespace, its CLONE flag


def without_ours(config: Config) -> Config:
    """A path of a namespace that we are in already says what no entry would say."""
    ours = [one for one in config.namespaces if one.path and _is_ours(one)]
    return replace(config, namespaces=tuple(one for one in config.namespaces if one not in ours))


def _is_ours(namespace: Namespace) -> bool:
    try:
        given, own = os.stat(namespace.path), os.stat(f"/proc/self/ns/{_FILES[namespace.type]}")
    except OSError:
        return False  # whoever joins it tells
    return (given.st_dev, given.st_ino) == (own.st_dev, own.st_ino)


def join_given(config: Config) -> tuple[int, list[Way]]:
    """Enter the namespaces that are given by path (the child inherits them): (flags of the new ones, the ways back)."""
    flags = 0
    back: list[Way] = []
    for namespace in config.namespaces:
        if not namespace.path:
            flags |= _CLONE_FLAGS.get(namespace.type, 0)
            if namespace.type == "time":
                _prepare_time(config.time_offsets)
            continue
        if namespace.type == "user":
            continue  # the last of all, by somebody who need not come back: see `through`
        flag = _JOIN_FLAGS[namespace.type]
        try:
            fd = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
            back.append(
                (os.open(f"/proc/self/ns/{_FILES[namespace.type]}", os.O_RDONLY | os.O_CLOEXEC), flag)
            )
            sys.setns(fd, flag)
            os.close(fd)
        except OSError as err:
            raise OSError(err.errno, f"join {namespace.type} namespace: {(err.strerror or '').lower()}",
                          namespace.path) from err  # fmt: skip
    return flags, back


def users_of(config: Config) -> int:
    """Descriptor of the user namespace that is given by path; -1 for none. Raises OSError."""
    for namespace in config.namespaces:
        if namespace.type == "user" and namespace.path:
            return os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
    return -1


def through(users: int, flags: int, *, parent: bool, group: int) -> int:
    """As clone3 of a process that is in the user namespace `users`, and its new namespaces belong to that.

    Who enters a user namespace loses what it is in its own: so a process between does it, which ends then. Returns 0 in
    the new process. Raises OSError.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    between = sys.clone3(sys.CLONE_PARENT if parent else 0, cgroup_fd=group)
    if between == 0:
        _between(users, flags, writing)
        return 0
    os.close(writing)
    told = int(os.read(reading, 32) or b"-1")
    os.close(reading)
    if not parent:
        os.waitpid(between, 0)
    if told < 0:
        raise OSError(-told, f"join user namespace: {os.strerror(-told).lower()}")
    return told


def _between(users: int, flags: int, writing: int) -> None:
    """Returns in the new process only."""
    try:
        sys.prctl(sys.PR_SET_DUMPABLE, 0)  # nobody who is in there already may look at what we have open
        sys.setns(users, sys.CLONE_NEWUSER)
        pid = sys.clone3(flags | sys.CLONE_PARENT)
    except OSError as err:
        os.write(writing, b"-%d" % (err.errno or 1))
        os._exit(1)
    if pid:
        os.write(writing, b"%d" % pid)
        os._exit(0)


def go_back(ways: Sequence[Way]) -> None:
    """What the host's hooks see is the host."""
    for fd, flag in reversed(ways):
        sys.setns(fd, flag)
        os.close(fd)


def mount_for_users(layers: Sequence[Mount], rootfs: str) -> list[Way]:
    """The root of a container that has users of its own: mounted by us, in a mount namespace for that, which init copies.

    A snapshot's overlay means what it says to the host's root only (its attributes are trusted ones).
    """
    way = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC), sys.CLONE_NEWNS
    sys.unshare(sys.CLONE_NEWNS)
    sys.mount(None, "/", None, sys.MS_SLAVE | sys.MS_REC)
    for item in layers:
        steps.mount_snapshot(item, rootfs)
    return [way]


def _prepare_time(offsets: Mapping[str, tuple[int, int]]) -> None:
    """A time namespace for our children: its clocks can be set until the first of them is in it (man 7 time_namespaces)."""
    sys.unshare(sys.CLONE_NEWTIME)
    lines = "".join(f"{clock} {seconds} {nanoseconds}\n" for clock, (seconds, nanoseconds) in offsets.items())
    if lines:
        try:
            with open("/proc/self/timens_offsets", "w") as file:
                file.write(lines)
        except OSError as err:
            raise InvalidArgument(f"linux.timeOffsets: {dict(offsets)}: {err.strerror}") from err


def mapped(config: Config) -> Mapping[int, int]:
    """A user namespace for each mount that has maps of its own: while we see the host's processes by their numbers."""
    if not config.id_maps:
        return plans.NOT_MAPPED
    found = {}
    for number, maps in config.id_maps.items():
        try:
            found[number] = idmap.user_namespace(*maps)
        except OSError as err:
            raise InvalidArgument(
                f"mounts[{number}].uidMappings, gidMappings: {err.strerror}: {maps}"
            ) from err
    return found


def enter(init_pid: int, pidfd: int, unified: int) -> int:
    """All namespaces of init at once, those which we are not in already. `unified`: a v2 control group's directory that
    the next clone is to go into; -1 comes back when we have gone there ourselves. Raises NotFound, OSError.
    """
    # Before we share a pid namespace's view: nobody inside may trace or read us (CVE-2016-9962).
    sys.prctl(sys.PR_SET_DUMPABLE, 0)
    try:
        pidfd = sys.pidfd_open(init_pid) if pidfd < 0 else pidfd
        flags = 0
        for name, flag in _OF_A_PROCESS.items():
            theirs, ours = os.stat(f"/proc/{init_pid}/ns/{name}"), os.stat(f"/proc/self/ns/{name}")
            if theirs.st_ino != ours.st_ino:
                flags |= flag
        # Of a container without a mount namespace: what setns(2) does not find, since it is our own.
        root = (
            -1
            if flags & sys.CLONE_NEWNS
            else os.open(f"/proc/{init_pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        )
        if flags & sys.CLONE_NEWUSER and unified >= 0:
            _join_group(unified)
            unified = -1
        if flags:
            sys.setns(pidfd, flags)
        os.close(pidfd)
        if root >= 0:
            hostroot.enter(root)
            os.close(root)
    except (ProcessLookupError, FileNotFoundError) as err:
        raise NotFound(f"init process {init_pid} has ended") from err
    if flags & sys.CLONE_NEWUSER:
        privileges.be_root()
    return unified


def _join_group(directory: int) -> None:
    """What root of a user namespace may not do any more: go into a control group of the host's root."""
    fd = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    os.write(fd, b"0")
    os.close(fd)
    os.close(directory)
