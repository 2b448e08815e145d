"""The engines that are measured: ours and every peer that is installed, each in a room of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.client import Client
from bench.room import Room, end
from hakobune.testing.engine import PrivateEngine

_READY_SECONDS = 60.0


@dataclass(frozen=True)
class Engine:
    """A running engine. `processes` gives the pids of all that is its own, daemons and helpers."""

    name: str
    socket: str
    version: str
    processes: Callable[[], set[int]]


class _Ours(PrivateEngine):
    """A private engine that lives in a room, like its peers."""

    room: Room

    def command(self) -> list[str]:
        return self.room.command(*super().command())


@contextlib.contextmanager
def hakobune() -> Iterator[Engine]:
    """Ours: hakod, hako-containerd, zygote."""
    room = Room()
    ours = _Ours(root=room.root)
    ours.room = room
    try:
        with ours:
            assert ours.process is not None
            room.entered(ours.process.pid)
            yield Engine("hakobune", str(ours.socket), _version(str(ours.socket)), room.processes)
    finally:
        room.clear()


@contextlib.contextmanager
def dockerd() -> Iterator[Engine]:
    """dockerd, with the containerd that it starts for itself."""
    room = Room()
    socket = f"{room.root}/d.sock"
    command = [
        *("dockerd", "--host", f"unix://{socket}", "--data-root", f"{room.root}/d"),
        *("--exec-root", f"{room.root}/e", "--pidfile", f"{room.root}/d.pid", "--log-level", "error"),
    ]
    with _daemon(room, socket, command) as version:
        yield Engine("dockerd", socket, version, room.processes)


@contextlib.contextmanager
def podman() -> Iterator[Engine]:
    """`podman system service` with crun where that is installed, else runc.

    crun refuses the layout with controllers on v1 and a v2 mount beside them: there the v2 mount is hidden
    from it, so that the fastest pair is the one that is measured.
    """
    runtime = "crun" if shutil.which("crun") else "runc"
    unified = Path("/sys/fs/cgroup/unified")
    room = Room(without=str(unified) if runtime == "crun" and unified.is_mount() else "")
    socket = f"{room.root}/p.sock"
    command = [
        *("podman", "--root", f"{room.root}/d", "--runroot", f"{room.root}/r", "--tmpdir", f"{room.root}/t"),
        *("--runtime", runtime, "--cgroup-manager", "cgroupfs", "--events-backend", "file"),
        *("system", "service", "--time", "0", f"unix://{socket}"),
    ]
    with _daemon(room, socket, command) as version:
        yield Engine(f"podman+{runtime}", socket, version, room.processes)


KINDS: dict[str, tuple[str, Callable[[], AbstractContextManager[Engine]]]] = {
    "hakobune": ("", hakobune),
    "dockerd": ("dockerd", dockerd),
    "podman": ("podman", podman),
}


def installed() -> tuple[list[str], list[str]]:
    """(engines that can be measured here, one line for each that cannot)."""
    here, missing = [], []
    for name, (program, _start) in KINDS.items():
        if program and not shutil.which(program):
            missing.append(f"{name}: not installed (no {program} on the PATH), left out")
        else:
            here.append(name)
    return here, missing


@contextlib.contextmanager
def _daemon(room: Room, socket: str, command: list[str]) -> Iterator[str]:
    """Run a peer's daemon in its room; gives its version. Raises RuntimeError with its log."""
    path = room.root / "log"
    try:
        with path.open("ab") as log:
            daemon = subprocess.Popen(
                room.command(*command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            _until_ready(socket, daemon, path)
            room.entered(daemon.pid)
            yield _version(socket)
        finally:
            _remove_all(socket)
            end(daemon)
    finally:
        room.clear()


def _until_ready(socket: str, daemon: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + _READY_SECONDS
    while time.monotonic() < give_up and daemon.poll() is None:
        with contextlib.suppress(OSError, RuntimeError):
            Client(socket).call("GET", "/_ping")
            return
        time.sleep(0.1)
    raise RuntimeError(f"it did not come up:\n{log.read_text(errors='replace')[-2000:]}")


def _version(socket: str) -> str:
    return str(Client(socket).call("GET", "/version")["Version"])


def _remove_all(socket: str) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        client = Client(socket)
        for container in client.call("GET", "/containers/json?all=1"):
            with contextlib.suppress(RuntimeError):
                client.remove(container["Id"])
