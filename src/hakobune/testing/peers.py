"""Docker's and Podman's own engines, started privately: own roots, own socket, each in a room of its own.

For measuring beside them: the benchmark and the demo's last table. Nothing of a Docker or Podman that runs on
this host is used or touched.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hakobune.cli.failure import Failure
from hakobune.cli.http import Client
from hakobune.testing.processes import end
from hakobune.testing.room import Room

_READY_SECONDS = 60.0
_STOP_SECONDS = 5.0
_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"  # where daemons live, which root's PATH need not name
_UNIFIED = Path("/sys/fs/cgroup/unified")


class PeerFailed(RuntimeError):
    """A peer that did not come up; the message ends with the last line of its log."""


@dataclass
class Peer:
    """One engine: `launch()`, `wait_ready()`, then `host` speaks Docker's API; `stop()` leaves nothing.

    `name` is for people, `kind` for figures; `missing` says why it cannot be started here, or is empty.
    """

    name: str
    kind: str
    missing: str
    _prepare: Callable[[], tuple[Room, list[str]]]
    _room: Room | None = None
    _daemon: subprocess.Popen[bytes] | None = None

    @property
    def room(self) -> Room:
        """Where it lives. Raises PeerFailed before `launch()`."""
        if self._room is None:
            raise PeerFailed(f"{self.kind} was not started")
        return self._room

    @property
    def socket(self) -> str:
        """Path of its API socket."""
        return _socket(self.room)

    @property
    def host(self) -> str:
        """What DOCKER_HOST takes."""
        return f"unix://{self.socket}"

    def launch(self) -> None:
        """Start the daemon; it does not answer yet. Raises OSError, PeerFailed."""
        if self.missing:
            raise PeerFailed(self.missing)
        self._room, argv = self._prepare()
        with (self._room.root / "log").open("ab") as log:
            self._daemon = subprocess.Popen(
                self._room.command(*argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PATH": _path()},
            )

    def wait_ready(self, seconds: float = _READY_SECONDS) -> str:
        """Wait until it answers; its version. Raises PeerFailed."""
        room, daemon = self.room, self._daemon
        assert daemon is not None
        give_up, nothing = time.monotonic() + seconds, select.poll()
        while time.monotonic() < give_up and daemon.poll() is None:
            with contextlib.suppress(Failure, OSError, ValueError), _patience(seconds):
                version = str(Client(self.host).get("/version")["Version"])
                room.entered(daemon.pid)
                return version
            nothing.poll(50)
        how = f"ended with {daemon.returncode}" if daemon.returncode is not None else f"in {seconds:.0f} s"
        raise PeerFailed(f"{self.kind} did not come up ({how}): {self._tail()}")

    def _tail(self) -> str:
        """The last thing that it said: daemons give their reason there."""
        lines = (self.room.root / "log").read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "no word in its log")

    def stop(self) -> None:
        """Remove its containers, end it and take its room away. Idempotent; also after a failed start."""
        room, daemon, self._room, self._daemon = self._room, self._daemon, None, None
        if room is None:
            return
        try:
            if daemon is not None and daemon.poll() is None:
                with _patience(_STOP_SECONDS):
                    _remove_containers(Client(f"unix://{_socket(room)}"))
                end(daemon, _STOP_SECONDS)
        finally:
            room.clear()
            if daemon is not None:
                daemon.wait()


def dockerd(runtime: str = "") -> Peer:
    """dockerd, with the containerd that it starts for itself; `runtime` (a path) does what runc does else."""
    program = _find("dockerd")

    def prepare() -> tuple[Room, list[str]]:
        room = Room()
        return room, [
            *(program, "--host", f"unix://{_socket(room)}", "--data-root", f"{room.root}/d"),
            *("--exec-root", f"{room.root}/e", "--pidfile", f"{room.root}/pid", "--log-level", "error"),
            *("--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{room.group}"),
            *(("--add-runtime", f"other={runtime}", "--default-runtime", "other") if runtime else ()),
        ]

    return Peer("Docker", "dockerd", "" if program else "no dockerd is installed", prepare)


def podman(runtime: str = "") -> Peer:
    """`podman system service` with `runtime` (a name or a path), else crun where that is installed, else runc.

    crun refuses the layout with controllers on v1 and a v2 mount beside them: there the v2 mount is hidden
    from it, so that the fastest pair is the one that is measured.
    """
    program = _find("podman")
    runtime = runtime or ("crun" if _find("crun") else "runc")

    def prepare() -> tuple[Room, list[str]]:
        room = Room(without=str(_UNIFIED) if runtime == "crun" and _UNIFIED.is_mount() else "")
        root = room.root
        return room, [
            *(program, "--root", f"{root}/d", "--runroot", f"{root}/r", "--tmpdir", f"{root}/t"),
            *("--runtime", runtime, "--cgroup-manager", "cgroupfs", "--events-backend", "file"),
            *("system", "service", "--time", "0", f"unix://{_socket(room)}"),
        ]

    return Peer(
        "Podman", f"podman+{os.path.basename(runtime)}", "" if program else "no podman is installed", prepare
    )


def built(program: str) -> str:
    """Path of a current `ctr`, `containerd`, `containerd-shim-runc-v2` or `nerdctl`, or "".

    tools/install_go_peers.sh builds them; Debian's older ones are on PATH.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return shutil.which(program, path=f"{cache}/hakobune-peers/bin") or ""


def criu() -> tuple[str, str]:
    """(a CRIU that works on this kernel, "") or ("", why there is none): Debian's, else what `make peers` has fetched."""
    why = "no criu is installed"
    for program in filter(None, (_find("criu"), built("criu"))):
        done = subprocess.run([program, "check"], capture_output=True, text=True, check=False)
        if not done.returncode:
            return program, ""
        why = f"{program} does not run on this kernel: {done.stderr.partition(chr(10))[0]}"
    return "", why


def _socket(room: Room) -> str:
    return f"{room.root}/api.sock"


def _path() -> str:
    return f"{os.environ.get('PATH') or os.defpath}:{_SYSTEM}"


def _find(program: str) -> str:
    return shutil.which(program, path=_path()) or ""


def _remove_containers(client: Client) -> None:
    with contextlib.suppress(Failure, OSError, ValueError):
        for container in client.get("/containers/json?all=1"):
            client.call("DELETE", f"/containers/{container['Id']}?force=1&v=1", fine=(404, 409, 500))


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """An engine that takes connections and says nothing is given up after this time."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
