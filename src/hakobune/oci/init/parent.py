"""The worker's side of a creation: prepare everything in the host, clone the process, say its pid.

The worker is a throw-away fork of the shim (or `hako-runtime` itself): what it imports, parses and
allocates dies with it. The new process is a child of the *worker's parent* (CLONE_PARENT), so the
shim reaps it. The asker hears of the cgroup (`made`) before there is a process in it: whoever is killed
after that, the container can be found and ended by its path. Imports: os, json; oci, cgroups, linux.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence

from hakobune import failpoint
from hakobune.cgroups import devices
from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import HakoError, InvalidArgument, PermissionDenied, Unimplemented
from hakobune.failpoint import reach
from hakobune.linux import bare, idmap
from hakobune.linux import syscalls as sys
from hakobune.linux.sockets import Socket
from hakobune.oci import hooks, known, sysctls
from hakobune.oci.config import Config
from hakobune.oci.init import kept, namespaces, privileges, reading
from hakobune.oci.init.child import (
    Birth,
    Entry,
    Gate,
    Streams,
    become_init,
)
from hakobune.oci.process import Process
from hakobune.oci.rootfs import plan as plans
from hakobune.oci.rootfs import steps
from hakobune.oci.rootfs.options import parse as parse_options
from hakobune.record import dataclass
from hakobune.spec.mount import Mount


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
    links: Callable[[Mapping[str, str], int], None] | None = None  # see verbs.links.give
    host_root: str = ""  # the file of hostroot.Lay; "": a container has to have a mount namespace
    kept: str = ""  # directory for the hooks that run later, by others; "": they are not kept
    made: Callable[[Cgroup, Config], None] = lambda _cgroup, _config: None
    planned: Callable[[], None] = lambda: None  # everything is ready for the clone
    near_gate: bool = False  # the gate is the near end: init may wait there without an interpreter


def _check(config: Config, request: Request) -> Process:
    """What cannot be is refused by name, never silently left out."""
    if not config.apart("mount"):
        _check_host_root(config, request.host_root)
    if config.net_devices and request.links is None:
        raise Unimplemented("linux.netDevices: hako-runtime as a program gives them")
    hooks.check(config.hooks)
    if config.sysctl:
        sysctls.check(config)
    if config.process is None:
        raise InvalidArgument("process: is needed to create a container")
    return config.process


def _check_host_root(config: Config, note: str) -> None:
    if not note:
        raise Unimplemented(
            "linux.namespaces: a mount namespace is needed here: who mounts on the host is hako-runtime as a program"
        )
    if config.apart("user"):
        raise InvalidArgument(
            "linux.namespaces: a user namespace needs a mount namespace of its own, since root in it may not mount on the host"
        )
    if config.root_propagation:
        raise InvalidArgument(
            "linux.rootfsPropagation: needs a mount namespace, which linux.namespaces has not"
        )


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
    config = namespaces.without_ours(reading.load(request.bundle))
    process = _check(config, request)
    tune = reading.acts_of(process, config.rare)
    program, program_flags = reading.filter_of(config, request.bundle)
    loader = reading.loader_of(config, container_id, "creating", request.bundle)
    rootfs = config.root if config.root.startswith("/") else f"{request.bundle}/{config.root}"
    cgroup = _make_cgroup(reading.cgroup_path(config, container_id), config)
    try:
        request.made(cgroup, config)
        reach("oci.create.cgroup")
        layers = () if config.apart("user") else request.rootfs
        plan = plans.build(
            config, layers, _cgroup_steps(cgroup, config), namespaces.mapped(config), request.host_root
        )
        entry = Entry(process, request.streams, cgroup.open_tasks(), program, program_flags, request.near,
                      request.gate, request.preserve, tune, loader, request.near_gate and _bare(config, loader))  # fmt: skip

        def told(status: str, pid: int) -> bytes:
            return hooks.state(container_id, status, pid, request.bundle, config.annotations)

        birth = Birth(entry, config, rootfs, plan, told, _hold(config), rootless=os.geteuid() != 0)
        users = namespaces.users_of(config)
        flags, back = namespaces.join_given(config)
        if config.apart("user") and config.new("mount") and os.geteuid() == 0:
            back += namespaces.mount_for_users(request.rootfs, rootfs)
        request.planned()
        pid = _clone(birth, cgroup, flags, users, parent=request.clone_parent)
        namespaces.go_back(back)
        if request.filter and not config.rare and loader is sys.seccomp_load:
            # Now that init is at work beside us: nobody execs before our caller has said its pid.
            kept.write(request.filter, kept.Filter(program, program_flags, _spawnable(config)))
        if config.new("user"):
            idmap.write(pid, *config.users)
        if config.apart("user"):
            privileges.score_of(pid, process)
        if config.net_devices and request.links is not None:
            request.links(config.net_devices, pid)
        reach("oci.create.cloned")
        _run_hooks(birth, request, pid)
    except BaseException:
        cgroup.kill()
        cgroup.delete(remove_empty_parents=True)
        raise
    return pid, cgroup, config


def _hold(config: Config) -> tuple[int, int]:
    waits = hooks.with_init(config.hooks) or config.new("user") or config.net_devices
    return os.pipe2(os.O_CLOEXEC) if waits else (-1, -1)


def _run_hooks(birth: Birth, request: Request, pid: int) -> None:
    """With init waiting, which hears its pid then. Raises FailedPrecondition; init finds the pipe's end."""
    listed, (reading, writing) = birth.config.hooks, birth.hold
    hooks.keep(listed, hooks.GONE, lambda: birth.told("stopped", 0), request.kept)
    hooks.keep(listed, hooks.STARTED, lambda: birth.told("running", pid), request.kept)
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


def _clone(birth: Birth, cgroup: Cgroup, flags: int, users: int, *, parent: bool) -> int:
    unified = cgroup.unified_fd()
    if users >= 0:
        pid = namespaces.through(users, flags, parent=parent, group=unified)
    else:
        pid = sys.clone3(flags | (sys.CLONE_PARENT if parent else 0), cgroup_fd=unified)
    if pid == 0:
        become_init(birth)
    if unified >= 0:
        os.close(unified)
    for fd in birth.entry.tasks:
        os.close(fd)
    return pid


def _bare(config: Config, loader: reading.Loader) -> bool:
    """Whether init may wait without an interpreter: it runs nothing of ours after START, and gives its memory back
    before a filter that may refuse it.
    """
    if (
        not bare.is_ready()
        or failpoint.armed
        or loader is not sys.seccomp_load
        or config.hooks.get(hooks.START)
    ):
        return False
    late = config.process is not None and config.process.no_new_privileges
    return late or config.seccomp is None or known.is_known(config.seccomp)


def _spawnable(config: Config) -> bool:
    """Whether an exec may be spawned by a worker that shares its memory until exec(2), see child.spawn.

    The filter must be one that lets vfork(2) pass, and nobody in the container may be able to trace.
    """
    if config.seccomp is not None and not known.is_known(config.seccomp):
        return False
    bounding = config.process.capabilities["bounding"] if config.process else ()
    return config.new("pid") and "CAP_SYS_PTRACE" not in bounding
