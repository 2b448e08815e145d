"""A task's directory: what its shim reads, and the files of record that outlive everybody.

config.json   the OCI configuration, written here
address       where the shim listens, written here before it exists
rootfs/       the mount point inside the container's own mount namespace
cgroup, init.pid, exit_status ("status nanoseconds"), shim.log     written by the shim or the zygote
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass

from hakobune.errors import InvalidArgument, ResourceExhausted
from hakobune.failpoint import reach

_KIND = "io.containerd.runtime.v2.task"
_DOOMED = "."  # begins the name of a bundle that goes: no id begins like that
_LONGEST_SOCKET = 107  # sun_path


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

    def record_exit(self, status: int) -> tuple[int, int]:
        """Put an exit on the disk for a task that nobody else will speak for; what is there already wins."""
        found = self.exit_status()
        if found is None:
            found = (status, time.time_ns())
            with contextlib.suppress(OSError):
                self._write("exit_status.new", f"{found[0]} {found[1]}".encode())
                os.rename(f"{self.path}/exit_status.new", f"{self.path}/exit_status")
        return found

    def remove(self) -> None:
        """Take it away; idempotent. By another name first: a zygote may be writing down how its shim ended."""
        doomed = f"{os.path.dirname(self.path)}/{_DOOMED}{self.id}"
        shutil.rmtree(doomed, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rename(self.path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self.socket)


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
