"""The init process, from its first instruction to exec(2).

Reads as the list of what happens: cgroups, session, file system, terminal, limits, privileges, wait
for START, exec. After the pivot nothing is imported and no path of the host is opened; everything
needed (passwd, the seccomp program, descriptors) was taken before. Imports: nothing lazy.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence

from hakobune.errors import HakoError, InvalidArgument
from hakobune.failpoint import reach
from hakobune.linux import bare, sockets
from hakobune.linux import syscalls as sys
from hakobune.linux.sockets import Socket
from hakobune.oci import hooks
from hakobune.oci.config import Config
from hakobune.oci.init import messages, privileges, program, terminal
from hakobune.oci.process import Process
from hakobune.oci.rootfs import safepath
from hakobune.oci.rootfs.hostroot import Chroot
from hakobune.oci.rootfs.steps import Cut, MountRoot, Pivot, Root, Step
from hakobune.record import dataclass

Gate = Callable[[], bool]  # blocks until START; False when the asker has gone


_NULL = os.makedev(1, 3)  # <linux/major.h>, Documentation/admin-guide/devices.txt


@dataclass(frozen=True, slots=True)
class Streams:
    """Descriptors which become 0, 1 and 2; unused with a terminal."""

    stdin: int
    stdout: int
    stderr: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What init and an exec need alike, prepared by the worker."""

    process: Process
    streams: Streams | None
    tasks: Sequence[int]
    seccomp: bytes | None
    seccomp_flags: int
    near: Socket
    gate: Gate
    preserve: int = 0  # descriptors from 3 on which the program inherits
    tune: Callable[[], None] | None = None  # see init.tuning
    load: Callable[[bytes, int], object] = sys.seccomp_load  # or init.notify's
    bare: bool = False  # it may wait at its gate, the channel, without an interpreter: see linux.bare


@dataclass(frozen=True, slots=True)
class Birth:
    """All that an init process needs, prepared by the worker."""

    entry: Entry
    config: Config
    root_path: str
    plan: Sequence[Step]
    told: Callable[[str, int], bytes]  # (status, pid) -> what a hook reads
    hold: tuple[int, int] = (
        -1,
        -1,
    )  # a pipe: the mounts wait for our pid out of it (hooks); end means: give up
    rootless: bool = False  # the worker has no privileges


def enter_cgroups(tasks: Sequence[int]) -> None:
    """Move ourselves. Cheap for a process of one thread that moves itself: no global lock (cgroup v1)."""
    for fd in tasks:
        os.write(fd, b"0")
        os.close(fd)


def forget_signals() -> None:
    """Default dispositions and an empty mask: CPython ignores SIGPIPE and SIGXFSZ, and exec keeps that."""
    sockets.set_wakeup_fd(-1)
    sockets.reset(lambda handler: handler == sockets.IGNORE)
    sys.default_hidden_signals()
    sockets.unblock_signals()


def become_init(birth: Birth) -> None:
    """Never returns: ends in exec(2) or in a FAILED message and exit status 1."""
    try:
        _be_born(birth)
    except BaseException as err:
        try:
            messages.say_failed(birth.entry.near, err)
        except OSError:
            pass
    os._exit(1)


def _be_born(birth: Birth) -> None:
    # Until exec nobody in the container may read or trace this image of the engine. That gives our /proc/<pid> to
    # root: a worker without privileges has to have written our maps there before.
    if not birth.rootless:
        sys.prctl(sys.PR_SET_DUMPABLE, 0)
    forget_signals()
    os.umask(0)  # device nodes and mount points get the modes that they are asked for
    enter_cgroups(birth.entry.tasks)
    reach("oci.init.entered")
    config = birth.config
    if config.new("cgroup"):
        sys.unshare(sys.CLONE_NEWCGROUP)  # after the move: its root is where we are now
    os.setsid()
    if config.new("network"):
        sockets.loopback_up()
    if config.hostname and config.new("uts"):
        sys.sethostname(config.hostname)
    if config.domainname and config.new("uts"):
        sys.setdomainname(config.domainname)
    pid = _wait_for_hooks(*birth.hold)
    sys.prctl(sys.PR_SET_DUMPABLE, 0)
    root = Root(birth.root_path)
    if config.apart("user"):
        privileges.be_root()  # our pid has come after the maps
    else:
        score(birth.entry.process, root.warnings)
    master, slave, passwd = _make_root(birth, root, pid)
    reach("oci.init.rooted")
    inherit(birth.entry.process, root.warnings)

    def started() -> None:
        hooks.run(config.hooks, birth.told("created", pid), hooks.START)

    finish(birth.entry, root.warnings, master, slave, passwd, started)


def _wait_for_hooks(reading: int, writing: int) -> int:
    """Until the host's hooks have run: our pid there, 0 without hooks. One that fails is the worker's to tell."""
    if reading < 0:
        return 0
    os.close(writing)
    pid = os.read(reading, 32)
    if not pid:
        os._exit(1)
    os.close(reading)
    return int(pid)


def _make_root(birth: Birth, root: Root, pid: int) -> tuple[int, int, bytes]:
    """Apply the plan; the terminal is opened as soon as devpts stands, before masks and pivot."""
    master = slave = -1
    passwd = b""
    for step in birth.plan:
        if isinstance(step, Pivot | Chroot):
            passwd = safepath.read_small(root.fd, "/etc/passwd")
            if birth.entry.process.terminal:
                master, slave = terminal.open_pair(root.fd)
                terminal.bind_console(root.fd, slave)
            hooks.run(birth.config.hooks, birth.told("creating", pid), hooks.CREATE)
        _apply(step, root)
    return master, slave, passwd


def _apply(step: Step, root: Root) -> None:
    try:
        step.apply(root)
    except OSError as err:
        where = f" ({err.filename})" if err.filename is not None else ""
        raise OSError(err.errno, f"{step.describe()}: {(err.strerror or '').lower()}{where}") from err


def score(process: Process, warnings: list[str]) -> None:
    """Readiness to be killed for memory: while /proc is the host's, where every process finds itself."""
    if process.oom_score_adj is not None:
        privileges.set_oom_score(process.oom_score_adj, warnings)


def inherit(process: Process, warnings: list[str]) -> None:
    """What a process may set for itself or for the one that it clones: an exec's worker does it ahead."""
    os.umask(0o022 if process.umask is None else process.umask)
    privileges.drop_bounding(process)


def finish(
    entry: Entry, warnings: list[str], master: int, slave: int, passwd: bytes,
    started: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """The second half, which init and exec share: streams, limits, privileges, START (then `started`), exec."""
    process, streams = entry.process, entry.streams
    if slave >= 0:
        terminal.take(slave)
        if process.console_size is not None:
            terminal.resize(slave, *process.console_size)
        streams = Streams(slave, slave, slave)
    if streams is not None:
        _take_streams(streams, process.uid, process.gid)
    privileges.set_limits(process.rlimits, warnings)
    if entry.tune is not None:
        entry.tune()
    for fd in range(3, 3 + entry.preserve):
        os.set_inheritable(fd, True)
    sys.close_range(3 + entry.preserve, cloexec=True)
    path, env = _shed(entry, warnings, passwd)
    messages.say_ready(entry.near, warnings, master)
    reach("oci.init.ready")
    if master >= 0:
        os.close(master)
    if entry.bare:
        _wait_bare(entry, path, env)
    if not entry.gate():
        os._exit(1)
    started()
    reach("oci.init.go")
    if process.no_new_privileges and entry.seccomp is not None:
        entry.load(entry.seccomp, entry.seccomp_flags)
    program.execute(path, process.args, env)


def _wait_bare(entry: Entry, path: str, env: dict[str, str]) -> None:
    """All that comes after READY, without our memory. Comes back where that cannot be done."""
    process = entry.process
    last = bare.Last(
        entry.near.fileno(), path, process.args, env, messages.failed(InvalidArgument(f"exec {path}: ")),
        entry.seccomp if process.no_new_privileges else None, entry.seccomp_flags,
        messages.failed(HakoError("load the seccomp filter: ")),
    )  # fmt: skip
    try:
        bare.wait(last)
    except (OSError, ValueError):
        return


def spawn(entry: Entry, warnings: list[str], passwd: bytes, planned: Callable[[], None]) -> None:
    """Become in the worker all that the process is to be, start it by posix_spawn(3), and say its pid.

    `planned` is called before the last of it.

    The child shares our memory until exec(2): nothing is copied, no page of Python is touched in it, which halves
    the cost of an exec. While it does so it is visible in the container, and who could trace it there would hold
    us; so this is not for containers that own CAP_SYS_PTRACE, nor for a filter that may refuse vfork(2). It is
    the shim's child when we end: the shim is a subreaper. Raises as `finish`.
    """
    process, streams = entry.process, entry.streams
    assert streams is not None
    _take_streams(streams, process.uid, process.gid)
    privileges.set_limits(process.rlimits, warnings)
    if entry.tune is not None:
        entry.tune()
    sys.close_range(3, cloexec=True)
    planned()
    path, env = _shed(entry, warnings, passwd)
    if process.no_new_privileges and entry.seccomp is not None:
        entry.load(entry.seccomp, entry.seccomp_flags)
    messages.say_pid(entry.near, program.spawn(path, process.args, env))
    messages.say_ready(entry.near, warnings)


def _shed(entry: Entry, warnings: list[str], passwd: bytes) -> tuple[str, dict[str, str]]:
    """Identity and capabilities, directory, filter; (the program's path, its environment).

    Without no_new_privs the load needs CAP_SYS_ADMIN, which therefore goes last of all: a filter is made for the
    program, and may refuse anything that we need to find it.
    """
    process = entry.process
    early = not process.no_new_privileges and entry.seccomp is not None
    last = privileges.become(process, warnings, hold=early)
    if process.no_new_privileges:
        sys.prctl(sys.PR_SET_NO_NEW_PRIVS, 1)
    _enter_directory(process.cwd)
    env = program.environment(process.env, program.home_of(passwd, process.uid))
    path = program.find(process.args[0], env)
    if early:
        assert entry.seccomp is not None
        entry.load(entry.seccomp, entry.seccomp_flags)
    if last is not None:
        sys.capset(*last)
    return path, env


def _take_streams(streams: Streams, uid: int, gid: int) -> None:
    """0, 1 and 2; pipes are given to the user, so that /dev/stdout can be opened again."""
    wanted = (streams.stdin, streams.stdout, streams.stderr)
    # First above 2, so that no dup2 overwrites a descriptor which is still to come.
    high = [os.dup(fd) if fd <= 2 else fd for fd in wanted]
    for number, fd in enumerate(high):
        os.dup2(fd, number, inheritable=True)
        _change_null(number)
        if uid or gid:
            _give(number, uid, gid)


def _change_null(fd: int) -> None:
    """The host's /dev/null becomes the container's: no descriptor leads out of its mounts, which CRIU insists on."""
    info = os.fstat(fd)
    if not stat.S_ISCHR(info.st_mode) or info.st_rdev != _NULL:
        return
    try:
        own = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return  # an image without it keeps the host's
    if os.fstat(own).st_rdev == _NULL:
        os.set_blocking(own, True)
        os.dup2(own, fd, inheritable=True)
    os.close(own)


def _give(fd: int, uid: int, gid: int) -> None:
    """Pipes, sockets and terminals only: /dev/null is the host's own node, a file is somebody's."""
    info = os.fstat(fd)
    if not (stat.S_ISFIFO(info.st_mode) or stat.S_ISSOCK(info.st_mode) or os.isatty(fd)):
        return
    try:
        os.fchown(fd, uid, info.st_gid if os.isatty(fd) else gid)
    except OSError:
        pass  # a read-only or foreign file system: /dev/stdout cannot be opened again then, no more


def _enter_directory(cwd: str) -> None:
    """chdir, then make sure that we are inside: a place outside the root the kernel names "(unreachable)", libc not at all."""
    try:
        os.chdir(cwd)
    except OSError as err:
        raise OSError(err.errno, f"chdir to cwd: {(err.strerror or '').lower()}", cwd) from err
    try:
        inside = os.getcwd().startswith("/")
    except FileNotFoundError:
        inside = False
    if not inside:
        raise PermissionError(1, "the working directory is outside the container", cwd)


def socket_gate(near: Socket) -> Gate:
    """START arrives on the channel itself."""

    def gate() -> bool:
        return near.recv(16) == messages.START

    return gate


def open_gate() -> bool:
    """For a process that need not wait: an exec goes on as soon as it is made."""
    return True


__all__ = [
    "Birth",
    "Cut",
    "Entry",
    "Gate",
    "MountRoot",
    "Streams",
    "become_init",
    "finish",
    "inherit",
    "open_gate",
    "socket_gate",
    "spawn",
]
