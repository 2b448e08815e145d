"""What `hako-runtime` remembers of a container, and how it finds out the state of one.

ROOT/ID/ (0700) holds `state.json`, written once, and until `start` the `gate`: the socket where the
init process waits. The status is never written down; it is read from the kernel, so that no crash can
make it wrong:
  created  init lives and the gate is there      paused   its cgroup is frozen
  running  init lives                            stopped  the rest
`brief` has of it what the verbs need that are called most: reading JSON would be half of their time.
A process is known by its pid and start time, so that a reused pid is not taken for it.
Imports: os; cgroups, errors.
"""

from __future__ import annotations

import os

from hakobune.errors import AlreadyExists, InvalidArgument, NotFound
from hakobune.record import asdict, dataclass, field

GATE = "gate"
_RECORD, _BRIEF, _NOTE = "state.json", "brief", "cgroup"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


@dataclass(frozen=True, slots=True)
class Record:
    """state.json. `created` in nanoseconds since the epoch; `started` is the kernel's start time of init."""

    id: str
    version: str
    bundle: str
    rootfs: str
    pid: int
    started: int
    cgroup: str
    created: int
    owner: str = "root"
    annotations: dict[str, str] = field(default_factory=dict)


class Brief:
    """The part of a record that tells a container's status and finds its processes."""

    __slots__ = ("cgroup", "pid", "started")

    def __init__(self, pid: int, started: int, cgroup: str) -> None:
        self.pid, self.started, self.cgroup = pid, started, cgroup


def start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat; 0 when there is no such process, or when it is a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


class Container:
    """One container's directory below the runtime's root."""

    def __init__(self, root: str, container_id: str) -> None:
        if not container_id or set(container_id) - _LETTERS or container_id in (".", ".."):
            raise InvalidArgument(f"invalid container ID format: {container_id!r}")
        self.id = container_id
        self.directory = os.path.join(root, container_id)

    @property
    def gate(self) -> str:
        """Path of the gate."""
        return os.path.join(self.directory, GATE)

    def claim(self) -> None:
        """Make the directory: the id is ours. Raises AlreadyExists."""
        os.makedirs(os.path.dirname(self.directory), mode=0o711, exist_ok=True)
        try:
            os.mkdir(self.directory, 0o700)
        except FileExistsError as err:
            raise AlreadyExists(f"container with given ID already exists: {self.id}") from err

    def forget(self) -> None:
        """Remove the directory, in which there are only files; silent when it is gone."""
        try:
            # The record first: without it the container does not exist, whatever else is left.
            for name in (_RECORD, *os.listdir(self.directory)):
                _remove(f"{self.directory}/{name}")
            os.rmdir(self.directory)
        except FileNotFoundError:
            pass

    def note(self, cgroup: str) -> None:
        """Before there is a process: where it will be found when nobody is left to write the record."""
        with open(f"{self.directory}/{_NOTE}", "w") as file:
            file.write(cgroup)

    def noted(self) -> str:
        """The control group of a container that was never recorded; "" when there is none."""
        try:
            with open(f"{self.directory}/{_NOTE}") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def write(self, record: Record) -> None:
        """Keep the record, whole or not at all."""
        import json

        with open(f"{self.directory}/{_BRIEF}", "w") as file:
            file.write(f"{record.pid}\n{record.started}\n{record.cgroup}")
        path = f"{self.directory}/{_RECORD}"
        with open(path + ".new", "w") as file:
            json.dump(asdict(record), file)
        os.rename(path + ".new", path)

    def read(self) -> Record:
        """The record. Raises NotFound."""
        import json

        try:
            with open(f"{self.directory}/{_RECORD}") as file:
                return Record(**json.load(file))
        except (FileNotFoundError, NotADirectoryError) as err:
            raise NotFound("container does not exist") from err

    def brief(self) -> Brief:
        """As `read`, for those who need no more. Raises NotFound."""
        if not os.path.exists(f"{self.directory}/{_RECORD}"):
            raise NotFound("container does not exist")
        try:
            with open(f"{self.directory}/{_BRIEF}") as file:
                pid, started, cgroup = file.read().split("\n", 2)
        except FileNotFoundError:  # made by an older version, or just being deleted
            record = self.read()
            return Brief(record.pid, record.started, record.cgroup)
        return Brief(int(pid), int(started), cgroup)

    def status(self, record: Record | Brief) -> str:
        """created, running, paused or stopped."""
        if not record.pid or start_time(record.pid) != record.started:
            return "stopped"
        if os.path.lexists(self.gate):
            return "created"
        from hakobune.cgroups.cgroup import (
            Cgroup,
        )  # for those who start a container it costs more than all else

        try:
            return "paused" if Cgroup.find(record.cgroup).frozen() else "running"
        except OSError:
            return "running"


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def containers(root: str) -> list[Container]:
    """All that are below `root`, by name."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    found = [Container(root, name) for name in names if not set(name) - _LETTERS]
    return [one for one in found if os.path.exists(f"{one.directory}/{_RECORD}")]
