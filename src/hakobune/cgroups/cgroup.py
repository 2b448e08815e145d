"""`Cgroup`: one container's control group in every hierarchy of the host.

Life: `create` (directories, then limits) -> the init process enters (`open_tasks` / `unified_fd`) ->
`update`, `freeze`, `stats`, … -> `kill` -> `wait_empty` -> `delete`. The object holds no descriptor and
no lock; a shim that starts anew rebuilds it from `record()`.

Entering: moving *another* pid into a v1 group takes a global lock (5 to 28 ms); a single-threaded process
that writes `0` to its own `tasks` file does not. So the creator opens the `tasks` files and the child
writes. On v2 clone3(CLONE_INTO_CGROUP) needs no move at all.

Every container is also in the unified hierarchy where there is one, for `cgroup.kill`, `cgroup.freeze`
and `cgroup.events`, which work there whatever controllers v1 has taken.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Iterable, Mapping

from hakobune.cgroups import check, devices, files, v1, v2
from hakobune.cgroups.layout import Hierarchy, Layout, detect
from hakobune.cgroups.limits import Limits
from hakobune.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from hakobune.linux import bpf, sockets
from hakobune.record import Any
from hakobune.spec.mount import Mount

MOUNT_POINT = "/sys/fs/cgroup"
_SECTIONS = {  # key of linux.resources -> controller
    "memory": "memory", "cpu": "cpu", "pids": "pids", "blockIO": "blkio", "hugepageLimits": "hugetlb",
    "devices": "devices", "rdma": "rdma",
}  # fmt: skip


def clean_path(path: str) -> str:
    """A cgroupsPath as `/a/b`. Raises InvalidArgument when it could leave the hierarchy."""
    parts = [part for part in path.split("/") if part]
    if not parts or any(part in (".", "..") or "\0" in part or "\n" in part for part in parts):
        raise InvalidArgument(f"linux.cgroupsPath: {path!r} is not a path below the hierarchy")
    return "/" + "/".join(parts)


def _make(mount: str, path: str) -> bool:
    """mkdir -p, trying the leaf first; False when it was there already."""
    try:
        os.mkdir(mount + path, 0o755)
    except FileExistsError:
        return False
    except FileNotFoundError:
        parent = path.rpartition("/")[0]
        if not parent:
            raise
        _make(mount, parent)
        return _make(mount, path)
    return True


class Cgroup:
    """A container's group. `v1` maps hierarchy name -> directory, `unified` is the v2 directory or empty."""

    __slots__ = ("path", "unified", "unified_controllers", "v1", "warnings")

    def __init__(
        self, path: str, v1_directories: dict[str, str], unified: str, controllers: frozenset[str]
    ) -> None:
        self.path = path
        self.v1 = v1_directories
        self.unified = unified
        self.unified_controllers = controllers
        self.warnings: list[str] = []

    # making and finding ---------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str, resources: Mapping[str, Any], layout: Layout | None = None) -> Cgroup:
        """Make the group everywhere and set the limits of OCI's `linux.resources`.

        What the kernel does not know is listed in `warnings`. Raises InvalidArgument (a path or value that
        can never work), AlreadyExists (the group holds processes), PermissionDenied, FailedPrecondition,
        OSError (no such hierarchy any more). After an error nothing of the group is left.
        """
        layout = layout or detect()
        group = cls._at(clean_path(path), layout)
        try:
            group._make_directories(layout)
            group._write(resources)
        except AlreadyExists:
            raise
        except BaseException:
            group.delete(timeout=0)
            raise
        return group

    @classmethod
    def _at(cls, path: str, layout: Layout) -> Cgroup:
        directories = {item.name: item.mount + path for item in layout.v1}
        unified = layout.unified + path if layout.unified else ""
        return cls(path, directories, unified, layout.unified_controllers)

    @classmethod
    def find(cls, path: str, layout: Layout | None = None) -> Cgroup:
        """The group at a path, whether it is there or not: for cleaning up after a crash."""
        return cls._at(clean_path(path), layout or detect())

    def record(self) -> dict[str, Any]:
        """What `from_record` needs; plain JSON values."""
        return {
            "path": self.path,
            "v1": dict(self.v1),
            "unified": self.unified,
            "unified_controllers": sorted(self.unified_controllers),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Cgroup:
        """The group that `record` described; reads nothing."""
        controllers = frozenset(record["unified_controllers"])
        return cls(record["path"], dict(record["v1"]), record["unified"], controllers)

    def _make_directories(self, layout: Layout) -> None:
        if self.unified and not _make(layout.unified, self.path) and self.pids():
            raise AlreadyExists(f"cgroup {self.path} exists and holds processes")
        for hierarchy in layout.v1:
            made = _make(hierarchy.mount, self.path)
            if not made and files.pids(hierarchy.mount + self.path):
                raise AlreadyExists(f"cgroup {self.path} exists and holds processes")
            if "cpuset" in hierarchy.controllers:
                self._fill_cpuset(hierarchy)
        if self.unified and not layout.v1:
            refused = v2.enable(layout.unified, self.path, layout.unified_controllers)
            self.warnings += [f"cgroup controller {name} cannot be handed down" for name in refused]

    def _fill_cpuset(self, hierarchy: Hierarchy) -> None:
        if not files.read_optional(hierarchy.mount + self.path + "/cpuset.mems"):
            v1.inherit_cpuset(hierarchy.mount, self.path)

    # limits ---------------------------------------------------------------------------------------

    def update(self, resources: Mapping[str, Any]) -> list[str]:
        """Set the given limits, leave the others; returns warnings of this call. Raises as `create`."""
        before = len(self.warnings)
        self._write(resources)
        return self.warnings[before:]

    def _write(self, resources: Mapping[str, Any]) -> None:
        """As `_write_all`; what is wrong with the request itself is named to the field."""
        try:
            self._write_all(resources)
        except (InvalidArgument, KeyError, TypeError, AttributeError, ValueError) as err:
            check.check(resources)
            if isinstance(err, InvalidArgument):
                raise
            raise InvalidArgument(f"linux.resources: cannot be applied: {type(err).__name__} {err}") from err

    def _write_all(self, resources: Mapping[str, Any]) -> None:
        for key, controller in _SECTIONS.items():
            if section := resources.get(key):
                self._limit(controller, section)
        if (cpu := resources.get("cpu")) and (cpu.get("cpus") or cpu.get("mems")):
            self._limit("cpuset", cpu)
        if network := resources.get("network"):
            for controller, key in (("net_cls", "classID"), ("net_prio", "priorities")):
                if network.get(key):
                    self._limit(controller, network)
        if unified := resources.get("unified"):
            self._write_unified(unified)

    def _write_unified(self, values: Mapping[str, str]) -> None:
        """config-linux.md, Unified: a controller that is not here is an error. Raises InvalidArgument."""
        wanted = frozenset(name.partition(".")[0] for name in values)
        if missing := wanted - self.unified_controllers:
            name = next(name for name in values if name.partition(".")[0] in missing)
            raise InvalidArgument(
                f"linux.resources.unified.{name}: this host's cgroup v2 has no controller "
                f"{name.partition('.')[0]!r}, it has {sorted(self.unified_controllers)}"
            )
        if self.v1:  # hybrid: nobody has handed these down yet
            v2.enable(self.unified[: -len(self.path)], self.path, wanted)
        v2.raw(Limits(self.unified, self.warnings), values)

    def _limit(self, controller: str, section: Any) -> None:
        """Write one section where its controller lives."""
        if (directory := self._home(controller)) is not None:
            v1.WRITERS[controller](Limits(directory, self.warnings), section)
        elif controller == "devices":
            self._limit_devices(section)
        elif (found := v2.WRITERS.get(controller)) and found[0] in self.unified_controllers:
            if self.v1:  # hybrid: nobody has handed this controller down yet
                v2.enable(self.unified[: -len(self.path)], self.path, frozenset((found[0],)))
            found[1](Limits(self.unified, self.warnings), section)
        else:
            self.warnings.append(f"no cgroup controller {controller} here: its limits are discarded")

    def _limit_devices(self, rules: Iterable[Mapping[str, Any]]) -> None:
        if not self.unified:
            self.warnings.append("no cgroup controller devices here: its limits are discarded")
            return
        directory = self.unified_fd()
        try:
            old = bpf.attached(directory)
            code = devices.program(rules)
            if code:
                loaded = bpf.load_device_program(code)
                bpf.attach(directory, loaded)
                os.close(loaded)
            for program in old:
                bpf.detach(directory, program)
                os.close(program)
        except OSError as err:
            text = f"device rules of cgroup {self.path} not attached: {err.strerror}"
            raise FailedPrecondition(text) from err
        finally:
            os.close(directory)

    def _home(self, controller: str) -> str | None:
        directory = self.v1.get(controller)
        if directory is None:
            for name, joined in self.v1.items():
                if controller in name.split(","):
                    return joined
        return directory

    # entering -------------------------------------------------------------------------------------

    def tasks_paths(self) -> list[str]:
        """The v1 `tasks` files; a single-threaded process enters by writing `0` to each."""
        return [directory + "/tasks" for directory in self.v1.values()]

    def open_tasks(self) -> list[int]:
        """`tasks_paths` opened for writing, close-on-exec. The caller closes them. Raises OSError."""
        fds: list[int] = []
        try:
            for path in self.tasks_paths():
                fds.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))  # noqa: PERF401 (what is open must close)
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        return fds

    def unified_fd(self) -> int:
        """The v2 directory for CLONE_INTO_CGROUP; -1 without v2. The caller closes it. Raises OSError."""
        if not self.unified:
            return -1
        return os.open(self.unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def enter(self) -> None:
        """Move the calling process, which must be single-threaded, into every hierarchy. Raises OSError."""
        for path in self.tasks_paths():
            files.write(path, "0")
        if self.unified:
            files.write(self.unified + "/cgroup.procs", "0")

    def add(self, pid: int) -> None:
        """Move another process in: slow on v1 (see the module's text). Raises OSError."""
        for directory in self.directories():
            files.write(directory + "/cgroup.procs", str(pid))

    # processes ------------------------------------------------------------------------------------

    def directories(self) -> list[str]:
        """All directories of this group, v1 first."""
        return [*self.v1.values(), *([self.unified] if self.unified else [])]

    def pids(self) -> list[int]:
        """Processes of the group and of the groups that the container made below it, sorted."""
        found: set[int] = set()
        _gather(self._processes_in(), found)
        return sorted(found)

    def _processes_in(self) -> str:
        """The hierarchy that is asked who is inside: unified, else any of v1."""
        return self.unified or self._home("pids") or next(iter(self.v1.values()), "")

    def kill(self) -> None:
        """SIGKILL to every process of the group and below, without a race against fork.

        `cgroup.kill` (Linux 5.14) does it in one write; elsewhere by pidfd until a pass finds nobody new.
        Does not wait for them to end (`wait_empty`). A group that is gone is silent.
        """
        if self.unified:
            try:
                files.write(self.unified + "/cgroup.kill", "1")
            except OSError:
                pass
            else:
                return
        self._kill_one_by_one()

    def _kill_one_by_one(self) -> None:
        self.thaw()
        killed: set[int] = set()
        while fresh := set(self.pids()) - killed:
            for pid in fresh:
                _kill_member(pid, self.pids)
            killed |= fresh

    def wait_empty(self, timeout: float) -> bool:
        """Wait until no process is left, at most `timeout` seconds; True when empty. Call after `kill`."""
        deadline = time.monotonic() + timeout
        while left := self.pids():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            _wait_for_end(left[0], remaining)
        return True

    # freezing -------------------------------------------------------------------------------------

    def freeze(self, timeout: float = 2.0) -> None:
        """Stop every process; returns when all have stopped.

        Raises FailedPrecondition after `timeout` seconds, with everything running again.
        v2's freezer is taken where there is one: a process that it holds can still be killed.
        """
        if not self._set_frozen(frozen=True, timeout=timeout):
            self._set_frozen(frozen=False, timeout=0)
            raise FailedPrecondition(f"cgroup {self.path} did not freeze within {timeout} s")

    def thaw(self) -> None:
        """Let them run again; silent when not frozen or gone."""
        if not self.directories():  # a user's container without any
            return
        try:
            self._set_frozen(frozen=False, timeout=0)
        except OSError as err:
            if err.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    def frozen(self) -> bool:
        """Whether a freeze is in force."""
        if self._unified_freezer():
            return files.pairs(self.unified + "/cgroup.events").get("frozen") == 1
        home = self._home("freezer")
        return home is not None and files.read_optional(home + "/freezer.state") == "FROZEN"

    def _unified_freezer(self) -> bool:
        return bool(self.unified) and files.read_optional(self.unified + "/cgroup.freeze") != ""

    def _set_frozen(self, *, frozen: bool, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        if self._unified_freezer():
            files.write(self.unified + "/cgroup.freeze", str(int(frozen)))
            return _wait_event(self.unified, "frozen", int(frozen), deadline) if timeout else True
        home = self._home("freezer")
        if home is None and self.unified and not os.path.exists(self.unified):
            raise FileNotFoundError(errno.ENOENT, "the group has gone", self.unified)
        if home is None:
            raise FailedPrecondition(f"cgroup {self.path}: no freezer on this host")
        files.write(home + "/freezer.state", "FROZEN" if frozen else "THAWED")
        # v1 has no notification, and needs the write again to catch those that forked meanwhile
        while timeout and files.read(home + "/freezer.state") != "FROZEN":
            if time.monotonic() > deadline:
                return False
            select.poll().poll(1)
            files.write(home + "/freezer.state", "FROZEN")
        return True

    # counters -------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Counters of now: `pids`, `cpu` (ns), `memory` (bytes), `blkio`; what is missing reads as 0."""
        pids = self._home("pids") or self.unified
        return {
            "version": 1 if self.v1 else 2,
            "pids": {
                "current": files.number(pids + "/pids.current") or len(self.pids()),
                "limit": files.number(pids + "/pids.max") or 0,
            },
            "cpu": self._cpu_stats(),
            "memory": self._memory_stats(),
            "blkio": self._blkio_stats(),
        }

    def _cpu_stats(self) -> dict[str, Any]:
        found = v2.cpu_stats(self.unified) if self.unified else {}
        if (home := self._home("cpuacct")) is not None:
            found |= v1.cpuacct_stats(home)
        if (home := self._home("cpu")) is not None:
            found |= v1.cpu_stats(home)
        return found

    def _memory_stats(self) -> dict[str, Any]:
        if (home := self._home("memory")) is not None:
            return v1.memory_stats(home)
        return v2.memory_stats(self.unified) if self.unified else {}

    def _blkio_stats(self) -> dict[str, Any]:
        if (home := self._home("blkio")) is not None:
            return v1.blkio_stats(home)
        return v2.blkio_stats(self.unified) if self.unified else {}

    def oom_kills(self) -> int:
        """How often the OOM killer took a process of this group; 0 when unknown."""
        if (home := self._home("memory")) is not None:
            return files.pairs(home + "/memory.oom_control").get("oom_kill", 0)
        return files.pairs(self.unified + "/memory.events").get("oom_kill", 0) if self.unified else 0

    def oom_watch(self) -> tuple[int, int]:
        """A descriptor that becomes ready at every OOM and when the group is removed, and the poll(2) events to ask for.

        v1: an eventfd. v2: memory.events, which is to be read again from its beginning after each time.
        (-1, 0) where memory is not accounted. The caller closes it. Raises OSError.
        """
        home = self._home("memory")
        if home is None:
            return self._watch_events() if "memory" in self.unified_controllers else (-1, 0)
        notify = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            control = os.open(home + "/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                files.write(home + "/cgroup.event_control", f"{notify} {control}")
            finally:
                os.close(control)
        except BaseException:
            os.close(notify)
            raise
        return notify, select.POLLIN

    def _watch_events(self) -> tuple[int, int]:
        fd = os.open(self.unified + "/memory.events", os.O_RDONLY | os.O_CLOEXEC)
        os.read(fd, 4096)  # from here on a change is news
        return fd, select.POLLPRI

    # the end --------------------------------------------------------------------------------------

    def delete(self, timeout: float = 2.0, *, remove_empty_parents: bool = False) -> None:
        """Remove every directory, with groups that the container made below; absent ones are silent.

        Processes that are just ending are waited for, at most `timeout` seconds together; then raises
        FailedPrecondition naming what is busy. With `remove_empty_parents` the groups above go too as
        far as they are empty (never the mounts).
        """
        deadline = time.monotonic() + timeout
        busy = [directory for directory in self.directories() if not _remove(directory, deadline)]
        if busy:
            raise FailedPrecondition(f"cgroup {self.path} is busy: {', '.join(busy)}")
        if remove_empty_parents:
            self.remove_parents()

    def remove_parents(self) -> None:
        """rmdir the groups above, leaf to root, as far as they are empty."""
        for directory in self.directories():
            mount, parent = directory[: -len(self.path)], self.path.rpartition("/")[0]
            while parent:
                try:
                    os.rmdir(mount + parent)
                except OSError:
                    break
                parent = parent.rpartition("/")[0]

    # the container's view -------------------------------------------------------------------------

    def mounts(self, *, readonly: bool = True) -> tuple[list[Mount], list[tuple[str, str]]]:
        """(mounts, symbolic links) that make the container's /sys/fs/cgroup, in order.

        v2: one cgroup2 mount (to be made inside the container's cgroup namespace). v1 and hybrid: a tmpfs
        with one bind of the container's own directory per hierarchy, and a link per joined controller
        (`cpu` -> `cpu,cpuacct`). The tmpfs is to be made read-only after that, when `readonly`.
        """
        access = "ro" if readonly else "rw"
        safe = ("nosuid", "noexec", "nodev")
        if not self.v1:
            return [Mount("cgroup2", "cgroup", MOUNT_POINT, (*safe, "relatime", access))], []
        plan = [Mount("tmpfs", "tmpfs", MOUNT_POINT, (*safe, "mode=755"))]
        links: list[tuple[str, str]] = []
        for name, directory in self.v1.items():
            place = name.removeprefix("name=")
            plan.append(Mount("bind", directory, f"{MOUNT_POINT}/{place}", ("bind", *safe, access)))
            if "," in place:
                links += [(place, f"{MOUNT_POINT}/{word}") for word in place.split(",")]
        if self.unified:
            plan.append(Mount("bind", self.unified, MOUNT_POINT + "/unified", ("bind", *safe, access)))
        return plan, links


def _gather(directory: str, found: set[int]) -> None:
    """Processes of a directory and of all below it."""
    if not directory:
        return
    found.update(files.pids(directory))
    for child in files.children(directory):
        _gather(child, found)


def _kill_member(pid: int, members: Any) -> None:
    """SIGKILL by pidfd, after asking once more that the pid is still a member: a reused one is not."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if pid in members():
            sockets.pidfd_send_signal(pidfd, sockets.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def _wait_for_end(pid: int, seconds: float) -> None:
    """Until the process has ended (or its group lets go of it), at most `seconds`."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        # a dead leader that is not reaped yet has no pidfd on old kernels: let it go on for a moment
        select.poll().poll(1)
        return
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if poll.poll(0):
            # it has ended, and is still on its way out of its groups
            select.poll().poll(1)
        else:
            poll.poll(max(1, int(seconds * 1000)))
    finally:
        os.close(pidfd)


def _wait_event(directory: str, key: str, wanted: int, deadline: float) -> bool:
    """Until cgroup.events says `key wanted`; the kernel signals every change as POLLPRI."""
    with open(directory + "/cgroup.events", "rb", buffering=0) as events:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        while f"{key} {wanted}\n".encode() not in events.read(4096):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            poll.poll(max(1, int(remaining * 1000)))
            events.seek(0)
    return True


def _remove(directory: str, deadline: float) -> bool:
    """rmdir with all groups below; waits for the processes that are ending. False when still busy."""
    while True:
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            return True
        except OSError as err:
            if err.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
        else:
            return True
        for child in files.children(directory):
            if not _remove(child, deadline):
                return False
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return False
        if members := files.pids(directory):
            _wait_for_end(members[0], min(remaining, 0.1))
        else:
            select.poll().poll(1)
