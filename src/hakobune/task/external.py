"""A runtime that is a program with runc's command line: runc, crun, youki, hako-runtime. Everything here runs in a worker.

The root file system is mounted in the worker's own mount namespace, from which the program makes the container's: the
host's mount table does not change, and nothing has to be unmounted whoever is killed. The program's own state lies in
the bundle. What it makes becomes the shim's child when it ends, because the shim is a subreaper.
Processes are signalled, frozen and counted through the container's control group, as those that we make ourselves.
Imports: json, os; oci, linux, task.runtime.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import FailedPrecondition, HakoError, Internal, InvalidArgument, NotFound
from hakobune.linux import sockets
from hakobune.linux import syscalls as sys
from hakobune.linux.sockets import Socket
from hakobune.oci.init import messages, reading
from hakobune.oci.init.child import Streams
from hakobune.oci.rootfs.steps import mount_snapshot
from hakobune.record import dataclass
from hakobune.task.runtime import GONE, Creation, Program, Running, note

RECORD = "runtime"  # a file of the bundle: the program, for whoever has to clean up after a shim
_STATE = "state"  # the program's --root, in the bundle
_CONSOLE = "pty.sock"  # relative: a bundle's path may be longer than a socket's can be
_MOST_SAID = 64 * 1024  # bytes of the program's log that are looked at
_PREFACE = "unable to start container process: "  # of runc, before what is wrong with a command
_KNOWN = {"container does not exist": NotFound, "container not running": FailedPrecondition}


class External:
    """See task.runtime."""

    gated = False

    def __init__(self, program: Program) -> None:
        self.program = program

    def create(
        self, creation: Creation, near: Socket, streams: Streams | None, planned: Callable[[], None]
    ) -> None:
        """`create`; whatever fails, or whoever asked has gone meanwhile, nothing is left of it."""
        bundle = creation.bundle
        config = _config(bundle)
        about = note(dict(config.get("annotations") or {}))
        path = str((config.get("linux") or {}).get("cgroupsPath") or "")
        _record(bundle, self.program, path)
        _mount_root(creation)
        planned()
        run = _Run(self.program, creation.id, bundle)
        try:
            pid, console = run.process("create", ("--bundle", bundle), streams)
            messages.say_cgroup(near, _cgroup_of(pid), about)
            messages.say_pid(near, pid)
            messages.say_ready(near, [], console)
        except BaseException:
            run.quietly("delete", "--force", creation.id)
            _drop_cgroup(path)
            raise

    def start(self, container: Running) -> None:
        """`start`."""
        _Run(self.program, container.id, container.bundle).run("start", container.id)

    def exec(self, container: Running, process: bytes, near: Socket, planned: Callable[[], None]) -> None:
        """`exec --detach`, after START."""
        packet, fds = sockets.receive(near, messages.MAX_MESSAGE, 3)
        if packet[:1] != messages.START:
            return
        planned()
        run = _Run(self.program, container.id, container.bundle)
        with _written(f"{container.bundle}/exec-{os.getpid()}.json", process) as path:
            streams = Streams(*fds) if fds else None
            pid, console = run.process("exec", ("--process", path, "--detach"), streams)
        messages.say_pid(near, pid)
        messages.say_ready(near, [], console)

    def update(self, container: Running, resources: bytes) -> None:
        """`update`."""
        with _written(f"{container.bundle}/update-{os.getpid()}.json", resources) as path:
            run = _Run(self.program, container.id, container.bundle)
            run.run("update", "--resources", path, container.id)

    def owes(self, event: str, bundle: str) -> bool:
        """At the end, whether the program has been at work there; at the start it runs its hooks by itself."""
        return event == GONE and os.path.exists(f"{bundle}/{RECORD}")

    def after(self, event: str, container_id: str, bundle: str) -> Sequence[str]:
        """`delete --force`, which runs the hooks of the end as well."""
        if event != GONE or not os.path.isdir(f"{_root(self.program, bundle)}/{container_id}"):
            return ()
        try:
            _Run(self.program, container_id, bundle).run("delete", "--force", container_id)
        except (HakoError, OSError) as err:
            return (messages.describe(err),)
        return ()


@dataclass(frozen=True, slots=True)
class _Run:
    """Runs the program for one container."""

    program: Program
    id: str
    bundle: str

    def process(self, verb: str, flags: Sequence[str], streams: Streams | None) -> tuple[int, int]:
        """A verb that makes a process: (its pid, the master of its terminal or -1). Raises HakoError, OSError."""
        os.chdir(self.bundle)
        pid_file = f"{self.bundle}/pid-{os.getpid()}"
        words = [verb, *flags, "--pid-file", pid_file]
        listener = None
        if streams is None:
            listener = sockets.unix(sockets.STREAM)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_CONSOLE)
            listener.bind(_CONSOLE)
            listener.listen(1)
            words += ["--console-socket", _CONSOLE]
        try:
            self.run(*words, self.id, streams=streams)
            with open(pid_file) as file:
                pid = int(file.read())
            return pid, -1 if listener is None else _receive_console(listener)
        finally:
            if listener is not None:
                listener.close()
                os.unlink(_CONSOLE)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(pid_file)

    def run(self, verb: str, *words: str, streams: Streams | None = None) -> None:
        """Wait for its end. Raises what its log says, Internal, NotFound when there is no such program."""
        log = f"{self.bundle}/{verb}-{os.getpid()}.log"
        line = [
            self.program.name,
            "--root",
            _root(self.program, self.bundle),
            "--log",
            log,
            "--log-format",
            "json",
        ]
        line += [*(["--systemd-cgroup"] if self.program.systemd else []), verb, *words]
        try:
            status = _spawn(line, streams)
            if status:
                raise _failure(self.program.name, verb, status, _last_error(log))
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(log)

    def quietly(self, verb: str, *words: str) -> None:
        """When something has gone wrong already."""
        with contextlib.suppress(HakoError, OSError):
            self.run(verb, *words)


def _root(program: Program, bundle: str) -> str:
    return program.root or f"{bundle}/{_STATE}"


def recorded(bundle: str) -> Program | None:
    """The program that has made the container of a bundle; None: it was the one built in."""
    try:
        with open(f"{bundle}/{RECORD}") as file:
            return Program(*json.load(file))
    except (OSError, ValueError, TypeError):
        return None


def _record(bundle: str, program: Program, cgroup: str) -> None:
    """Before anything is made: whoever finds the bundle can end the container."""
    if cgroup.startswith("/"):
        _write(f"{bundle}/cgroup", cgroup.encode())
    _write(f"{bundle}/{RECORD}", json.dumps(program.pack()).encode())


def _write(path: str, data: bytes) -> None:
    with open(path + ".new", "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
    os.rename(path + ".new", path)


@contextlib.contextmanager
def _written(path: str, data: bytes) -> Iterator[str]:
    _write(path, data)
    try:
        yield path
    finally:
        os.unlink(path)


def _config(bundle: str) -> dict[str, Any]:
    """As it is: the program judges it."""
    found = reading.read(bundle)
    if not isinstance(found, dict):
        raise InvalidArgument(f"{bundle}/config.json: an object is needed")
    return found


def _mount_root(creation: Creation) -> None:
    """In a mount namespace of ours, whose mounts stay in it."""
    sys.unshare(sys.CLONE_NEWNS)
    sys.mount(None, "/", None, sys.MS_REC | sys.MS_SLAVE)
    for mount in creation.rootfs:
        mount_snapshot(mount, f"{creation.bundle}/rootfs")


def _cgroup_of(pid: int) -> str:
    """Where the program has put it: the same place in every hierarchy, of which one with limits is asked first.

    Raises FailedPrecondition for a process that is still in our own group: it would be killed with all of us.
    """
    found, ours = _groups(f"{pid}"), _groups("self")
    for name in ("pids", "freezer", "memory", ""):
        if name in found and found[name] not in ("/", ours.get(name)):
            return found[name]
    raise FailedPrecondition("the runtime has put the container into no control group of its own")


def _groups(process: str) -> dict[str, str]:
    """Control group by controller, "" for v2 (man 7 cgroups)."""
    found: dict[str, str] = {}
    with open(f"/proc/{process}/cgroup") as file:
        for line in file:
            _number, controllers, path = line.rstrip("\n").split(":", 2)
            found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _drop_cgroup(path: str) -> None:
    """After a failure: the program leaves the groups above the container's that it has made."""
    if path.startswith("/"):
        with contextlib.suppress(HakoError, OSError):
            Cgroup.find(path).delete(remove_empty_parents=True)


def _receive_console(listener: Socket) -> int:
    """The terminal's master, which the program has sent (runc, docs/terminals.md). Raises Internal."""
    connection = sockets.accept(listener, sockets.STREAM)
    try:
        _name, fds = sockets.receive(connection, 4096, 1)
    finally:
        connection.close()
    if not fds:
        raise Internal("the runtime has sent no terminal")
    return fds[0]


def _spawn(line: list[str], streams: Streams | None) -> int:
    """Its exit status, negative for a signal. Raises NotFound."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    wanted = (null, null, null) if streams is None else (streams.stdin, streams.stdout, streams.stderr)
    sys.default_hidden_signals()
    try:
        pid = os.posix_spawnp(
            line[0], line, os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(wanted)],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ], setsigmask=[],
        )  # fmt: skip
    except OSError as err:
        raise NotFound(f"runtime {line[0]!r}: {messages.describe(err)}") from err
    finally:
        os.close(null)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _last_error(log: str) -> str:
    """The text of the last line of the program's log that is an error."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _MOST_SAID))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        with contextlib.suppress(ValueError, AttributeError):
            said = json.loads(line)
            if said.get("level") in ("error", "fatal"):
                return str(said.get("msg", ""))
    return ""


def _failure(name: str, verb: str, status: int, said: str) -> HakoError:
    if not said:
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return Internal(f"{os.path.basename(name)} {verb} {how} and said nothing")
    command = said.rpartition(_PREFACE)[2]
    if command.startswith("exec: "):
        return InvalidArgument(command)  # as ours says it
    kind = next((kind for words, kind in _KNOWN.items() if words in said), Internal)
    return kind(f"OCI runtime {verb} failed: {said}")
