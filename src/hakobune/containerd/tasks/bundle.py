"""A task's directory: what its shim reads, and the files of record that outlive everybody.

config.json   the OCI configuration, written here
address       where the shim listens, written here before it exists
rootfs/       the mount point inside the container's own mount namespace
cgroup, init.pid, exit_status ("status nanoseconds"), shim.log     written by the shim or the zygote
deleted       written here before a deletion is answered: the next manager does not bring the task back

Of a shim that a program of a runtime has started, with the names that containerd gives them:
shim-binary-path   that program, noted before it is run
bootstrap.json     where the shim listens, and which version of the task API it serves
log                its log: containerd has a FIFO there, a file needs no reader
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hakobune.errors import InvalidArgument, ResourceExhausted
from hakobune.failpoint import reach
from hakobune.linux import syscalls

_KIND = "io.containerd.runtime.v2.task"
_DOOMED = "."  # begins the name of a bundle that goes: no id begins like that
_LONGEST_SOCKET = 107  # sun_path


@dataclass(frozen=True, slots=True)
class Place:
    """Where a shim listens: its socket's path ("\\0…" for an abstract one), and what it speaks: "ttrpc" or "grpc"."""

    path: str
    version: int = 2  # of the task API
    protocol: str = "ttrpc"


@dataclass(frozen=True, slots=True)
class Bundle:
    """Names of one task's files; `create` and `remove` are the only ones that change anything."""

    namespace: str
    id: str
    path: str
    socket: str

    @classmethod
    def of(cls, state: str, namespace: str, container_id: str) -> Bundle:
        """The bundle that a task has under the state directory. Raises InvalidArgument for too long a path."""
        name = hashlib.sha256(f"{namespace}/{container_id}".encode()).hexdigest()[:20]
        socket = f"{state}/s/{name}"
        if len(os.fsencode(socket)) > _LONGEST_SOCKET:
            raise InvalidArgument(f"socket path {socket} is longer than {_LONGEST_SOCKET} bytes")
        return cls(namespace, container_id, f"{state}/{_KIND}/{namespace}/{container_id}", socket)

    def create(self, config: bytes) -> None:
        """Write it, in place of what a crash left. Raises ResourceExhausted."""
        try:
            with contextlib.suppress(FileExistsError):
                os.makedirs(os.path.dirname(self.path), mode=0o711, exist_ok=True)
            try:
                os.mkdir(self.path, 0o711)
            except FileExistsError:
                shutil.rmtree(self.path)
                os.mkdir(self.path, 0o711)
            self._write("address", f"unix://{self.socket}".encode())
            reach("containerd.bundle.address")
            os.mkdir(f"{self.path}/rootfs", 0o711)
            self._write("config.json", config)
        except OSError as err:
            self.remove()
            raise ResourceExhausted(f"bundle of {self.id}: {err.strerror}: {err.filename}") from err

    def _write(self, name: str, data: bytes) -> None:
        fd = os.open(f"{self.path}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)

    def _read(self, name: str) -> str:
        try:
            with open(f"{self.path}/{name}") as file:
                return file.read()
        except (OSError, UnicodeDecodeError):
            return ""

    def place(self) -> Place | None:
        """Where the shim listens that a program has started; None when that was not written down."""
        try:
            record = json.loads(self._read("bootstrap.json") or "{}")
            address, version = str(record["address"]), int(record["version"])
            protocol = str(record["protocol"])
        except (ValueError, KeyError, TypeError):
            return None
        return Place(_path_of(address, protocol), version, protocol)

    def program(self) -> str:
        """The program of the runtime that has started its shim; "" for our own kind."""
        return self._read("shim-binary-path")

    def note_program(self, program: str) -> None:
        """Before it is run: whoever finds the bundle knows whom to ask. Raises ResourceExhausted."""
        try:
            os.close(os.open(f"{self.path}/log", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            self._write("shim-binary-path", program.encode())
        except OSError as err:
            raise ResourceExhausted(f"bundle of {self.id}: {err.strerror}: shim-binary-path") from err

    def note_place(self, record: bytes) -> None:
        """What its `start` has said, as JSON. Raises ResourceExhausted."""
        try:
            self._write("bootstrap.json.new", record)
            os.rename(f"{self.path}/bootstrap.json.new", f"{self.path}/bootstrap.json")
        except OSError as err:
            raise ResourceExhausted(f"bundle of {self.id}: {err.strerror}: bootstrap.json") from err

    def unmount(self) -> None:
        """The root file system that a program's shim has mounted in our own mount namespace; silent without one."""
        with contextlib.suppress(OSError):
            while True:
                syscalls.umount(f"{self.path}/rootfs", syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)

    def cgroup(self) -> str:
        """The container's cgroup path; "" when none was made."""
        return self._read("cgroup").strip()

    def pid(self) -> int:
        """Init's pid; 0 when it was never made."""
        word = self._read("init.pid").strip()
        return int(word) if word.isdigit() else 0

    def exit_status(self) -> tuple[int, int] | None:
        """(status, nanoseconds since the epoch) of init, once it is on the disk."""
        words = self._read("exit_status").split()
        return (int(words[0]), int(words[1])) if len(words) == 2 and "".join(words).isdigit() else None

    def record_exit(self, status: int, at: int = 0) -> tuple[int, int]:
        """Put an exit on the disk for a task that nobody else will speak for; what is there already wins.

        `at` is in nanoseconds, 0 for now.
        """
        found = self.exit_status()
        if found is None:
            found = (status, at if at > 0 else time.time_ns())
            with contextlib.suppress(OSError):
                self._write("exit_status.new", f"{found[0]} {found[1]}".encode())
                os.rename(f"{self.path}/exit_status.new", f"{self.path}/exit_status")
        return found

    def note_deleted(self) -> None:
        """Before a deletion is answered: the shim may outlive the answer and us. A full disk is borne."""
        with contextlib.suppress(OSError):
            self._write("deleted", b"")

    def deleted(self) -> bool:
        """Whether the task's deletion has been answered, or was about to be."""
        return os.path.exists(f"{self.path}/deleted")

    def remove(self) -> None:
        """Take it away; idempotent. By another name first: a zygote may be writing down how its shim ended."""
        doomed = f"{os.path.dirname(self.path)}/{_DOOMED}{self.id}"
        shutil.rmtree(doomed, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rename(self.path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self.socket)


def _path_of(address: str, protocol: str) -> str:
    """The socket's path. What has no scheme is an abstract name to shims of ttrpc, and a path, or "@name", to those of gRPC."""
    path = address.removeprefix("unix://")
    if protocol == "grpc":
        return f"\0{path[1:]}" if path.startswith("@") else path
    return path if path.startswith("/") and path != address else f"\0{path}"


def stray_sockets(state: str, bundles: Iterable[Bundle]) -> list[str]:
    """Remove the sockets, where shims of ours listen, that belong to none of the bundles; their names. At boot."""
    known = {os.path.basename(bundle.socket) for bundle in bundles}
    found = [name for name in os.listdir(f"{state}/s") if name not in known]
    for name in found:
        with contextlib.suppress(OSError):
            os.unlink(f"{state}/s/{name}")
    return found


def left_behind(state: str) -> Iterator[Bundle]:
    """Every bundle that is on the disk: at boot."""
    root = f"{state}/{_KIND}"
    with contextlib.suppress(FileNotFoundError):
        for namespace in os.listdir(root):
            for container_id in os.listdir(f"{root}/{namespace}"):
                if container_id.startswith(_DOOMED):
                    shutil.rmtree(f"{root}/{namespace}/{container_id}", ignore_errors=True)
                else:
                    yield Bundle.of(state, namespace, container_id)
