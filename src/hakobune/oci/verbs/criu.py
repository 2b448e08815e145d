"""`checkpoint` and `restore`: CRIU (criu.org) as a program, and what it has to be told of a container.

CRIU freezes the processes, writes them as images and ends them, or lets them run; later it makes them again, in a
mount namespace of its own over the bundle's root. Mounts that come from outside (volumes, the cgroup hierarchies,
masks) are not in the images: they are named on both sides, with their sources when they are made again.
Control groups are ours: CRIU runs in the container's when it restores, and its children stay there.
Imports: os; cgroups, oci.init, oci.status.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable

from hakobune.cgroups import devices
from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import FailedPrecondition, HakoError, NotFound
from hakobune.linux import syscalls
from hakobune.oci.config import Config
from hakobune.oci.init import reading
from hakobune.oci.status import Container, Record, start_time
from hakobune.oci.verbs import delete, launch
from hakobune.oci.verbs.arguments import CRIU_SWITCHES, Arguments
from hakobune.oci.verbs.spec import VERSION
from hakobune.record import dataclass

_ONLY_AFTER = ("cgroupd:", "rlimit:", "tun:")  # what CRIU complains of on its way, or afterwards
_TAIL = 4096  # bytes of its log that are searched for the reason of a failure
_PID = "restored.pid"
# Beside the images: what of maskedPaths were files, and what the three streams were.
_MASKED, _STREAMS = "masked-files", "streams"


@dataclass(frozen=True, slots=True)
class Order:
    """Where the images are (`parent`: those of an earlier pre-dump, relative), and CRIU's own switches."""

    criu: str
    images: str
    work: str
    parent: str
    switches: tuple[str, ...]

    @classmethod
    def of(cls, found: Arguments) -> Order:
        """From the flags."""
        images = os.path.abspath(found.text("image-path", "checkpoint"))
        work = os.path.abspath(found.text("work-path", images))
        return cls(found.text("criu", "criu"), images, work, found.text("parent-path"),
                   tuple(f"--{name}" for name in CRIU_SWITCHES if found.on(name)))  # fmt: skip


def _masked_files(config: Config, pid: int) -> list[str]:
    """Files behind a /dev/null that is the host's; masked directories have a file system of their own."""
    found = []
    for path in config.masked_paths:
        try:
            if stat.S_ISCHR(os.lstat(f"/proc/{pid}/root{path}").st_mode):
                found.append(path)
        except OSError:
            continue  # nothing there to be masked
    return found


def _external(config: Config, cgroup: Cgroup, masked: list[str]) -> list[tuple[str, str]]:
    """(place in the container, where it comes from) of each mount that is not the container's own."""
    found = [(path, "/dev/null") for path in masked]
    for item in config.mounts:
        if item.type == "cgroup":
            found += [(one.target, one.source) for one in cgroup.mounts()[0] if one.type == "bind"]
        elif item.type == "bind" or {"bind", "rbind"} & set(item.options):
            found.append((item.target, item.source))
    return found


def checkpoint(root: str, container_id: str, order: Order, *, leave: bool, pre: bool) -> None:
    """Write the container's processes as images; it ends and is deleted, unless it is left (or only pre-dumped).

    Raises NotFound, FailedPrecondition with CRIU's reason: the container goes on then.
    """
    container = Container(root, container_id)
    record = container.read()
    status = container.status(record)
    if status not in ("running", "paused"):
        raise FailedPrecondition(f"cannot checkpoint a {status} container: container not running")
    cgroup = Cgroup.find(record.cgroup)
    if pre and not _tracks_memory(order.criu):
        raise FailedPrecondition(
            "no pre-dump: this kernel does not tell written pages (CONFIG_MEM_SOFT_DIRTY)"
        )
    if status == "paused":  # CRIU freezes by itself
        cgroup.thaw()
    words = ["pre-dump" if pre else "dump", "--tree", str(record.pid), "--root", record.rootfs]
    words += [] if pre else ["--leave-running"] if leave else []
    words += ["--track-mem"] if pre else []
    words += ["--prev-images-dir", order.parent] if order.parent else []
    config = reading.load(record.bundle)
    masked = _masked_files(config, record.pid)
    for place, _source in _external(config, cgroup, masked):
        words += ["--external", f"mnt[{place}]:{place}"]
    os.makedirs(order.images, mode=0o700, exist_ok=True)
    _write(f"{order.images}/{_MASKED}", masked)
    _write(
        f"{order.images}/{_STREAMS}", [os.readlink(f"/proc/{record.pid}/fd/{number}") for number in range(3)]
    )
    try:
        _run(order, "dump.log", words)
    finally:
        if status == "paused" and container.status(record) != "stopped":
            cgroup.freeze()
    if not leave and not pre:
        delete.delete(root, container_id, force=True)


def _tracks_memory(criu: str) -> bool:
    """Whether this kernel says which pages were written since a pre-dump: CRIU crashes where it does not."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        quiet = [(os.POSIX_SPAWN_DUP2, null, number) for number in (1, 2)]
        line = [criu, "check", "--feature", "mem_dirty_track"]
        return os.waitpid(os.posix_spawnp(criu, line, os.environ, file_actions=quiet), 0)[1] == 0
    except FileNotFoundError:
        return True  # told by the call that follows
    finally:
        os.close(null)


def restore(root: str, container_id: str, bundle: str, order: Order, *, pid_file: str, detached: bool) -> int:
    """Make a container out of images; its exit status, or 0 at once when detached. Nothing is left of a failure."""
    bundle = os.path.realpath(bundle)
    config = reading.load(bundle)
    if not os.path.isdir(order.images):
        raise NotFound(f"{order.images}: no such directory of images")
    path = reading.cgroup_path(config, container_id)
    rootfs = os.path.realpath(os.path.join(bundle, config.root))
    container = Container(root, container_id)
    container.claim()
    try:
        rules = devices.for_container(config.resources.get("devices") or ())
        cgroup = Cgroup.create(path, {**config.resources, "devices": rules})
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, int(not detached))
        pid = _make_again(container, cgroup, config, rootfs, order)
        record = Record(container_id, VERSION, bundle, rootfs, pid, start_time(pid), path, time.time_ns(),
                        annotations=dict(config.annotations))  # fmt: skip
        container.write(record)
        launch.write_pid(pid_file, pid)
    except BaseException:
        _forget(container, path)
        raise
    if detached:
        return 0
    code = launch.forward(pid, -1)
    delete.delete(root, container_id, force=True)
    return code


def _forget(container: Container, path: str) -> None:
    try:
        delete.end(Cgroup.find(path))
    except (HakoError, OSError):
        pass
    container.forget()


def _make_again(container: Container, cgroup: Cgroup, config: Config, rootfs: str, order: Order) -> int:
    pid_file = f"{container.directory}/{_PID}"
    words = ["restore", "--root", rootfs, "--restore-detached", "--pidfile", pid_file]
    for place, source in _external(config, cgroup, _read(f"{order.images}/{_MASKED}")):
        words += ["--external", f"mnt[{place}]:{source}"]
    for number, name in enumerate(_read(f"{order.images}/{_STREAMS}")):
        if name.startswith(
            "pipe:"
        ):  # its other end was somebody's outside: ours of the same number takes its place
            words += ["--inherit-fd", f"fd[{number}]:{name}"]

    def prepare() -> None:
        """In the fork that becomes CRIU: the root has to be a mount, which the host need not see."""
        cgroup.enter()
        # Of the control groups CRIU makes nothing again, so the namespace over them is made here as well.
        syscalls.unshare(syscalls.CLONE_NEWNS | (syscalls.CLONE_NEWCGROUP if config.new("cgroup") else 0))
        syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
        syscalls.mount(rootfs, rootfs, None, syscalls.MS_BIND | syscalls.MS_REC)

    _run(order, "restore.log", words, prepare)
    with open(pid_file) as file:
        pid = int(file.read())
    os.unlink(pid_file)
    return pid


def _write(path: str, lines: list[str]) -> None:
    with open(path, "w") as file:
        file.write("\n".join(lines))


def _read(path: str) -> list[str]:
    """Raises NotFound: then these are no images of a container."""
    try:
        with open(path) as file:
            return [line for line in file.read().split("\n") if line]
    except FileNotFoundError as err:
        raise NotFound(f"{path}: no such file: these are no images of a checkpoint") from err


def _run(order: Order, log: str, words: list[str], prepare: Callable[[], None] | None = None) -> None:
    """Run CRIU to its end. Raises NotFound when there is none, FailedPrecondition with what its log says."""
    for directory in (order.images, order.work):
        os.makedirs(directory, mode=0o700, exist_ok=True)
    line = [order.criu, words[0], "--images-dir", order.images, "--work-dir", order.work, "--log-file", log, "-v4",
            "--manage-cgroups=ignore", *words[1:], *order.switches]  # fmt: skip
    pid = os.fork()
    if pid == 0:
        _become(line, prepare)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == _ABSENT:
        raise NotFound(f"criu is needed for {words[0]}, and {order.criu!r} cannot be executed")
    if status:
        raise FailedPrecondition(
            f"criu {words[0]} failed: {_reason(f'{order.work}/{log}')} (see {order.work}/{log})"
        )


_ABSENT = 127


def _become(line: list[str], prepare: Callable[[], None] | None) -> None:
    try:
        if prepare is not None:
            prepare()
        os.execvp(line[0], line)
    except FileNotFoundError:
        os._exit(_ABSENT)
    except BaseException as err:
        os.write(2, f"hako-runtime: criu: {err}\n".encode())
        os._exit(1)


def _reason(log: str) -> str:
    """The last error in its log that is not only a consequence."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return "it wrote no log"
    errors = [line.partition("Error ")[2] for line in lines if "Error " in line and "FAILED" not in line]
    told = [text for text in errors if not any(word in text for word in _ONLY_AFTER)]
    return next(reversed(told or errors), "its log names no error")
