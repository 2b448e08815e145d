"""The worker's side of an exec: prepare everything in the host, enter the container, make the process, say its pid.

A throw-away fork of the shim, as for a creation (see parent). Imports: os, json; oci, cgroups, linux.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping

from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import InvalidArgument
from hakobune.linux import syscalls as sys
from hakobune.linux.sockets import Socket
from hakobune.oci.init import kept, messages, namespaces, reading, tuning
from hakobune.oci.init.child import (
    Entry,
    Gate,
    Streams,
    enter_cgroups,
    finish,
    forget_signals,
    inherit,
    score,
    spawn,
)
from hakobune.oci.init.terminal import open_pair
from hakobune.oci.process import parse_process
from hakobune.oci.rootfs import safepath
from hakobune.record import Any, dataclass, replace


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
    planned: Callable[[], None] = lambda: None  # only the process itself is left to be made


@dataclass(frozen=True, slots=True)
class Inside:
    """The worker is in the container's namespaces, and has set there what the process inherits."""

    warnings: list[str]
    unified: int
    root: int  # descriptor
    passwd: bytes


@dataclass(frozen=True, slots=True)
class PreparedExec:
    """An exec of which everything is known but its streams; made in the host, where files can be read.

    With `spawn` (see child.spawn) the worker is `inside` already: nobody there can see it, let alone trace it, until
    it has the process. Others go there when they have START.
    """

    request: ExecRequest
    entry: Entry
    unified: int = -1
    spawn: bool = False
    inside: Inside | None = None


def prepare_exec(request: ExecRequest, container_id: str) -> PreparedExec:
    """Read and open all that an exec needs from the host. Raises as `create`."""
    try:
        process = parse_process(json.loads(request.process), at="")
    except ValueError as err:
        raise InvalidArgument(f"process: is not JSON: {err}") from err
    found = kept.read(request.filter) if request.cgroup and request.filter else None
    linux: Mapping[str, Any] = {}
    loader: reading.Loader = sys.seccomp_load
    if found is not None:
        cgroup = Cgroup.find(request.cgroup)
    else:
        config = reading.load(request.bundle)
        found = kept.Filter(*reading.filter_of(config, request.bundle), spawnable=False)
        linux = config.rare
        loader = reading.loader_of(config, container_id, "running", request.bundle)
        cgroup = Cgroup.find(reading.cgroup_path(config, container_id))
    entry = Entry(process, None, cgroup.open_tasks(), found.program, found.flags, request.near, request.gate,
                  request.preserve, reading.acts_of(process, linux), loader)  # fmt: skip
    if request.clone_parent and found.spawnable and not process.terminal and not request.preserve:
        return PreparedExec(request, entry, spawn=True, inside=_go_inside(request, entry, -1))
    return PreparedExec(request, entry, cgroup.unified_fd())


def exec_process(prepared: PreparedExec, streams: Streams | None, size: messages.Size | None = None) -> None:
    """Make a process in the container of `init_pid` and say its pid; `size` is newer than the request's.

    Raises as `create`, and NotFound when init is gone.

    What a child inherits is done before the clone: each page that the child need not touch is not copied.
    """
    request = prepared.request
    entry = replace(prepared.entry, streams=streams)
    if size is not None:
        entry = replace(entry, process=replace(entry.process, console_size=size))
    inside = prepared.inside or _go_inside(request, entry, prepared.unified)
    if prepared.spawn:
        enter_cgroups(entry.tasks)
        spawn(entry, inside.warnings, inside.passwd, request.planned)
        return
    request.planned()
    pid = sys.clone3(sys.CLONE_PARENT if request.clone_parent else 0, cgroup_fd=inside.unified)
    if pid == 0:
        _become_exec(entry, inside)
    messages.say_pid(request.near, pid)


def _go_inside(request: ExecRequest, entry: Entry, unified: int) -> Inside:
    warnings: list[str] = []
    score(entry.process, warnings)
    if (
        "execCPUAffinity" in entry.process.rare
        and (act := tuning.first_affinity(entry.process.rare)) is not None
    ):
        act()
    unified = namespaces.enter(request.init_pid, request.init_pidfd, unified)
    forget_signals()
    inherit(entry.process, warnings)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return Inside(warnings, unified, root, safepath.read_small(root, "/etc/passwd"))


def _become_exec(entry: Entry, inside: Inside) -> None:
    """The exec'd process: as init, without a file system to make."""
    try:
        enter_cgroups(entry.tasks)
        os.setsid()
        master = slave = -1
        if entry.process.terminal:
            master, slave = open_pair(inside.root)
        os.close(inside.root)
        finish(entry, inside.warnings, master, slave, inside.passwd)
    except BaseException as err:
        try:
            messages.say_failed(entry.near, err)
        except OSError:
            pass
    os._exit(1)
