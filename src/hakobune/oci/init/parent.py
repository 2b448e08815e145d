"""The worker's side of a creation: prepare everything in the host, clone the process, say its pid.

The worker is a throw-away fork of the shim (or `hako-runtime` itself): what it imports, parses and
allocates dies with it. The new process is a child of the *worker's parent* (CLONE_PARENT), so the
shim reaps it. The asker hears of the cgroup (`made`) before there is a process in it: whoever is killed
after that, the container can be found and ended by its path. Imports: os, json; oci, cgroups, linux.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from hakobune.cgroups import devices
from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import HakoError, InvalidArgument, NotFound, PermissionDenied, Unimplemented
from hakobune.failpoint import reach
from hakobune.linux import idmap
from hakobune.linux import syscalls as sys
from hakobune.linux.sockets import Socket
from hakobune.oci import hooks, known, seccomp, sysctls
from hakobune.oci.config import Config, Process, parse, parse_process
from hakobune.oci.init import kept, lsm, messages, notify, privileges, tuning
from hakobune.oci.init.child import (
    Birth,
    Entry,
    Gate,
    Streams,
    become_init,
    enter_cgroups,
    finish,
    forget_signals,
    inherit,
    score,
    spawn,
)
from hakobune.oci.init.terminal import open_pair
from hakobune.oci.rootfs import plan as plans
from hakobune.oci.rootfs import safepath, steps
from hakobune.oci.rootfs.options import parse as parse_options
from hakobune.record import Any, dataclass, replace
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
          "time": "time_for_children"}  # fmt: skip
MAX_CONFIG = 8 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Request:
    """One creation: the bundle, the snapshot's mounts (may be empty), the streams (None: a terminal).

    `made(cgroup, config)` is called as soon as the cgroup stands. `filter` is the file that keeps for later execs
    what they need of the configuration ("" for none).
    """

    bundle: str
    rootfs: Sequence[Mount]
    streams: Streams | None
    near: Socket
    gate: Gate
    clone_parent: bool = True
    preserve: int = 0
    filter: str = ""
    kept: str = ""  # directory for the hooks that run later, by others; "": they are not kept
    made: Callable[[Cgroup, Config], None] = lambda _cgroup, _config: None
    planned: Callable[[], None] = lambda: None  # everything is ready for the clone


def read(bundle: str) -> Any:
    """The JSON of the bundle's config.json, not looked at further. Raises NotFound, InvalidArgument."""
    path = f"{bundle}/config.json"
    try:
        with open(path, "rb", buffering=0) as file:
            raw = file.read(min(os.fstat(file.fileno()).st_size, MAX_CONFIG) + 1)
    except FileNotFoundError as err:
        raise NotFound(f"{path}: no such file") from err
    if len(raw) > MAX_CONFIG:
        raise InvalidArgument(f"{path}: longer than {MAX_CONFIG} bytes")
    try:
        return known.parse(raw)
    except (ValueError, RecursionError) as err:
        raise InvalidArgument(f"{path}: is not JSON: {err}") from err


def load(bundle: str) -> Config:
    """The bundle's configuration. Raises NotFound, InvalidArgument."""
    try:
        return parse(read(bundle))
    except (ValueError, RecursionError) as err:
        raise InvalidArgument(f"{bundle}/config.json: {err}") from err


def cgroup_path(config: Config, container_id: str) -> str:
    """Where the container's cgroup is: as the config says, else /hakobune/<id>."""
    return config.cgroups_path or f"/hakobune/{container_id}"


def _seccomp(config: Config, bundle: str) -> tuple[bytes | None, int]:
    """The filter, compiled or remembered: a profile of its own is compiled once for its bundle, for every exec."""
    if config.seccomp is None:
        return None, 0
    return known.program(config.seccomp, bundle), seccomp.flags(config.seccomp)


Loader = Callable[[bytes, int], object]


def _loader(config: Config, container_id: str, status: str, bundle: str) -> Loader:
    """How the filter is loaded: with an agent that hears of calls, where the profile has one. Raises InvalidArgument."""
    profile = config.seccomp
    if profile is None or known.is_known(profile) or not seccomp.notifies(profile):
        return sys.seccomp_load
    told = partial(hooks.state, container_id, status, bundle=bundle, annotations=config.annotations)
    return partial(notify.load, notify.connect(profile, told))


def _check(config: Config) -> Process:
    """What this release does not do is refused by name, never silently left out."""
    for namespace in config.namespaces:
        if namespace.type == "user" and namespace.path:
            raise Unimplemented(
                f"linux.namespaces: a user namespace by path is not supported yet: {namespace.path}"
            )
    if not any(namespace.type == "mount" for namespace in config.namespaces):
        raise InvalidArgument(
            "linux.namespaces: a mount namespace is needed, new or by path: without one its mounts would stay on the host"
        )
    hooks.check(config.hooks)
    if config.sysctl:
        sysctls.check(config)
    if config.process is None:
        raise InvalidArgument("process: is needed to create a container")
    return config.process


Way = tuple[int, int]  # descriptor of a namespace, its CLONE flag


def _join_given(config: Config) -> tuple[int, list[Way]]:
    """Enter the namespaces that are given by path (the child inherits them): (flags of the new ones, the ways back)."""
    flags = 0
    back: list[Way] = []
    for namespace in config.namespaces:
        if not namespace.path:
            flags |= _CLONE_FLAGS.get(namespace.type, 0)
            if namespace.type == "time":
                _prepare_time(config.time_offsets)
            continue
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


def _go_back(ways: Sequence[Way]) -> None:
    """What the host's hooks see is the host."""
    for fd, flag in reversed(ways):
        sys.setns(fd, flag)
        os.close(fd)


def _mount_for_users(layers: Sequence[Mount], rootfs: str) -> list[Way]:
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


def _mapped(config: Config) -> Mapping[int, int]:
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


def _cgroup_steps(cgroup: Cgroup, config: Config) -> plans.CgroupMounts:
    """The container's /sys/fs/cgroup, from the cgroup's own list."""

    def build(item: Mount) -> Sequence[steps.Step]:
        readonly = "ro" in item.options
        mounts, links = cgroup.mounts(readonly=readonly)
        made: list[steps.Step] = []
        for mount in mounts:
            options = parse_options(mount.options)
            if options.bind or mount.type == "bind":
                made.append(steps.Bind(mount.source, mount.target, options))
            else:
                made.append(steps.Filesystem(mount.type, mount.source, mount.target, options))
        made.append(steps.Links(tuple(links)))
        if readonly:
            made.append(steps.Seal(item.target))
        return made

    return build


def create(request: Request, container_id: str) -> tuple[int, Cgroup, Config]:
    """Clone the init process: (its pid, its cgroup, what was read). Never returns in the child.

    Raises InvalidArgument, NotFound, Unimplemented, OSError, and what Cgroup.create raises; nothing is
    left behind then.
    """
    config = load(request.bundle)
    process = _check(config)
    tune = _tune(process, config.personality)
    program, program_flags = _seccomp(config, request.bundle)
    loader = _loader(config, container_id, "creating", request.bundle)
    if request.filter and config.personality is None and loader is sys.seccomp_load:
        kept.write(request.filter, kept.Filter(program, program_flags, _spawnable(config)))
    rootfs = config.root if config.root.startswith("/") else f"{request.bundle}/{config.root}"
    cgroup = _make_cgroup(cgroup_path(config, container_id), config)
    try:
        request.made(cgroup, config)
        reach("oci.create.cgroup")
        layers = () if config.new("user") else request.rootfs
        plan = plans.build(config, layers, _cgroup_steps(cgroup, config), _mapped(config))
        entry = Entry(process, request.streams, cgroup.open_tasks(), program, program_flags, request.near,
                      request.gate, request.preserve, tune, loader)  # fmt: skip

        def told(status: str, pid: int) -> bytes:
            return hooks.state(container_id, status, pid, request.bundle, config.annotations)

        birth = Birth(entry, config, rootfs, plan, told, _hold(config))
        flags, back = _join_given(config)
        if config.new("user") and os.geteuid() == 0:
            back += _mount_for_users(request.rootfs, rootfs)
        request.planned()
        pid = _clone(birth, cgroup, flags, parent=request.clone_parent)
        _go_back(back)
        if config.new("user"):
            idmap.write(pid, *config.users)
            privileges.score_of(pid, process)
        reach("oci.create.cloned")
        _run_hooks(birth, request, pid)
    except BaseException:
        cgroup.kill()
        cgroup.delete(remove_empty_parents=True)
        raise
    return pid, cgroup, config


def _hold(config: Config) -> tuple[int, int]:
    return os.pipe2(os.O_CLOEXEC) if hooks.with_init(config.hooks) or config.new("user") else (-1, -1)


def _run_hooks(birth: Birth, request: Request, pid: int) -> None:
    """With init waiting, which hears its pid then. Raises FailedPrecondition; init finds the pipe's end."""
    listed, (reading, writing) = birth.config.hooks, birth.hold
    hooks.keep(listed, hooks.GONE, birth.told("stopped", 0), request.kept)
    hooks.keep(listed, hooks.STARTED, birth.told("running", pid), request.kept)
    if writing < 0:
        return
    os.close(reading)
    try:
        hooks.run(listed, birth.told("creating", pid), *hooks.BEFORE)
        os.write(writing, b"%d" % pid)
    except BaseException:
        if request.kept:
            hooks.run_kept(hooks.GONE, request.kept)  # for what the hooks before the failing one have made
        raise
    finally:
        os.close(writing)


def _make_cgroup(path: str, config: Config) -> Cgroup:
    """As Cgroup.create; the empty groups above that it made go too when it fails."""
    try:
        rules = devices.for_container(config.resources.get("devices") or ())
        return Cgroup.create(path, {**config.resources, "devices": rules})
    except (PermissionDenied, PermissionError):
        if os.geteuid() == 0 or any(
            config.resources.get(key) for key in config.resources if key != "devices"
        ):
            raise
        # A user who owns no control group goes without, as with runc; the container's pid namespace ends with it.
        return Cgroup(path, {}, "", frozenset())
    except InvalidArgument:
        with contextlib.suppress(InvalidArgument):  # the path itself
            Cgroup.find(path).remove_parents()
        raise
    except (HakoError, OSError):
        Cgroup.find(path).remove_parents()
        raise


def _clone(birth: Birth, cgroup: Cgroup, flags: int, *, parent: bool) -> int:
    unified = cgroup.unified_fd()
    pid = sys.clone3(flags | (sys.CLONE_PARENT if parent else 0), cgroup_fd=unified)
    if pid == 0:
        become_init(birth)
    if unified >= 0:
        os.close(unified)
    for fd in birth.entry.tasks:
        os.close(fd)
    return pid


# --- exec -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """One more process in a running container; `process` is the raw JSON of a runtime-spec Process.

    `cgroup` (a path) and `filter` (as in Request) spare a look into config.json; "" where they are not known.
    """

    bundle: str
    process: bytes
    init_pid: int
    near: Socket
    gate: Gate
    init_pidfd: int = -1  # opened by the pid when it is not given
    clone_parent: bool = True
    preserve: int = 0
    cgroup: str = ""
    filter: str = ""


@dataclass(frozen=True, slots=True)
class PreparedExec:
    """An exec of which everything is known but its streams; made in the host, where files can be read."""

    request: ExecRequest
    entry: Entry
    unified: int = -1
    spawn: bool = False  # see `_spawn`


_EXEC_NAMESPACES = {"mnt": sys.CLONE_NEWNS, "pid": sys.CLONE_NEWPID, "uts": sys.CLONE_NEWUTS,
                    "ipc": sys.CLONE_NEWIPC, "net": sys.CLONE_NEWNET, "cgroup": sys.CLONE_NEWCGROUP,
                    "time": sys.CLONE_NEWTIME, "user": sys.CLONE_NEWUSER}  # fmt: skip


def prepare_exec(request: ExecRequest, container_id: str) -> PreparedExec:
    """Read and open all that an exec needs from the host. Raises as `create`."""
    try:
        process = parse_process(json.loads(request.process), at="")
    except ValueError as err:
        raise InvalidArgument(f"process: is not JSON: {err}") from err
    found = kept.read(request.filter) if request.cgroup and request.filter else None
    personality: Mapping[str, Any] | None = None
    loader: Loader = sys.seccomp_load
    if found is not None:
        cgroup = Cgroup.find(request.cgroup)
    else:
        config = load(request.bundle)
        found = kept.Filter(*_seccomp(config, request.bundle), spawnable=False)
        personality = config.personality
        loader = _loader(config, container_id, "running", request.bundle)
        cgroup = Cgroup.find(cgroup_path(config, container_id))
    entry = Entry(process, None, cgroup.open_tasks(), found.program, found.flags, request.near, request.gate,
                  request.preserve, _tune(process, personality), loader)  # fmt: skip
    if request.clone_parent and found.spawnable and not process.terminal and not request.preserve:
        return PreparedExec(request, entry, spawn=True)
    return PreparedExec(request, entry, cgroup.unified_fd())


def exec_process(prepared: PreparedExec, streams: Streams | None, size: messages.Size | None = None) -> None:
    """Make a process in the container of `init_pid` and say its pid; `size` is newer than the request's.

    Raises as `create`, and NotFound when init is gone.

    What a child inherits is done before the clone: each page that the child need not touch is not copied.
    """
    request, warnings = prepared.request, list[str]()
    entry = replace(prepared.entry, streams=streams)
    if size is not None:
        entry = replace(entry, process=replace(entry.process, console_size=size))
    score(entry.process, warnings)
    if "execCPUAffinity" in entry.process.rare:
        _set_first_affinity(entry.process)
    if os.stat(f"/proc/{request.init_pid}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino:
        prepared = _before_its_users(prepared)
        _enter(request.init_pid, request.init_pidfd)
        privileges.be_root()
    else:
        _enter(request.init_pid, request.init_pidfd)
    forget_signals()
    inherit(entry.process, warnings)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    passwd = safepath.read_small(root, "/etc/passwd")
    if prepared.spawn:
        enter_cgroups(entry.tasks)
        spawn(entry, warnings, passwd)
        return
    pid = sys.clone3(sys.CLONE_PARENT if request.clone_parent else 0, cgroup_fd=prepared.unified)
    if pid == 0:
        _become_exec(entry, warnings, root, passwd)
    messages.say_pid(request.near, pid)


def _tune(process: Process, personality: Mapping[str, Any] | None) -> Callable[[], None] | None:
    if (
        not process.rare
        and personality is None
        and not process.apparmor_profile
        and not process.selinux_label
    ):
        return None
    acts = [
        act for act in (tuning.prepared(process.rare, personality), lsm.prepared(process)) if act is not None
    ]

    def act() -> None:
        for one in acts:
            one()

    return act


def _set_first_affinity(process: Process) -> None:
    if (act := tuning.first_affinity(process.rare)) is not None:
        act()


def _spawnable(config: Config) -> bool:
    """Whether an exec may be spawned by a worker that shares its memory until exec(2), see child.spawn.

    The filter must be one that lets vfork(2) pass, and nobody in the container may be able to trace.
    """
    if config.seccomp is not None and not known.is_known(config.seccomp):
        return False
    bounding = (
        config.process.capabilities["bounding"] if config.process and config.process.capabilities else ()
    )
    return config.new("pid") and "CAP_SYS_PTRACE" not in bounding


def _before_its_users(prepared: PreparedExec) -> PreparedExec:
    """What root of a user namespace may not do any more: go into a control group of the host's root."""
    if prepared.unified >= 0:
        fd = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=prepared.unified)
        os.write(fd, b"0")
        os.close(fd)
        os.close(prepared.unified)
    return replace(prepared, unified=-1)


def _enter(init_pid: int, pidfd: int) -> None:
    """All namespaces of init at once, those which we are not in already."""
    # Before we share a pid namespace's view: nobody inside may trace or read us (CVE-2016-9962).
    sys.prctl(sys.PR_SET_DUMPABLE, 0)
    try:
        pidfd = sys.pidfd_open(init_pid) if pidfd < 0 else pidfd
        flags = 0
        for name, flag in _EXEC_NAMESPACES.items():
            theirs, ours = os.stat(f"/proc/{init_pid}/ns/{name}"), os.stat(f"/proc/self/ns/{name}")
            if theirs.st_ino != ours.st_ino:
                flags |= flag
        sys.setns(pidfd, flags)
        os.close(pidfd)
    except (ProcessLookupError, FileNotFoundError) as err:
        raise NotFound(f"init process {init_pid} has ended") from err


def _become_exec(entry: Entry, warnings: list[str], root: int, passwd: bytes) -> None:
    """The exec'd process: as init, without a file system to make."""
    try:
        enter_cgroups(entry.tasks)
        os.setsid()
        master = slave = -1
        if entry.process.terminal:
            master, slave = open_pair(root)
        os.close(root)
        finish(entry, warnings, master, slave, passwd)
    except BaseException as err:
        try:
            messages.say_failed(entry.near, err)
        except OSError:
            pass
    os._exit(1)


__all__ = [
    "ExecRequest",
    "PreparedExec",
    "Request",
    "cgroup_path",
    "create",
    "exec_process",
    "load",
    "prepare_exec",
    "read",
]
