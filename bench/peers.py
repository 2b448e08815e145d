"""The engines that are measured: ours and every peer that is installed, each private, each ended with nothing left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import memory
from bench.client import Client
from hakobune.testing.engine import PrivateEngine, free_subnet

_READY_SECONDS = 60.0


@dataclass(frozen=True)
class Engine:
    """A running engine. `daemons` gives the pids of all its long-lived processes."""

    name: str
    socket: str
    version: str
    daemons: Callable[[], set[int]]


@contextlib.contextmanager
def hakobune() -> Iterator[Engine]:
    """Ours."""
    with PrivateEngine() as engine:
        yield Engine("hakobune", str(engine.socket), "0.1.0", lambda: set(engine.daemons().values()))


@contextlib.contextmanager
def dockerd() -> Iterator[Engine]:
    """Debian's dockerd with the containerd that it starts itself, or one of our own where it does not."""
    root = Path(tempfile.mkdtemp(prefix="bd-", dir="/tmp"))
    bridge = f"bd{os.getpid()}"
    _make_bridge(bridge)
    containerd = subprocess.Popen(
        ["containerd", "--root", f"{root}/cd", "--state", f"{root}/cs", "--address", f"{root}/c.sock", "-l", "error"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    command = [
        "dockerd", "--host", f"unix://{root}/d.sock", "--data-root", f"{root}/d", "--exec-root", f"{root}/e",
        "--pidfile", f"{root}/d.pid", "--containerd", f"{root}/c.sock", "--bridge", bridge, "-l", "error",
    ]  # fmt: skip
    log = (root / "log").open("ab")
    daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _until_ready(f"{root}/d.sock", daemon, root / "log")
        version = Client(f"{root}/d.sock").call("GET", "/version")["Version"]
        yield Engine("dockerd", f"{root}/d.sock", version, lambda: {daemon.pid, containerd.pid})
    finally:
        _end(daemon)
        _end(containerd)
        log.close()
        _remove_bridge(bridge)
        _clear_mounts(root)
        shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def podman() -> Iterator[Engine]:
    """Debian's podman, as a service on a socket."""
    root = Path(tempfile.mkdtemp(prefix="bp-", dir="/tmp"))
    runtime = "crun" if shutil.which("crun") and _crun_works() else "runc"
    command = [
        "podman", "--root", f"{root}/d", "--runroot", f"{root}/r", "--tmpdir", f"{root}/t", "--runtime", runtime,
        "--cgroup-manager", "cgroupfs", "--events-backend", "file",
        "system", "service", "--time", "0", f"unix://{root}/p.sock",
    ]  # fmt: skip
    log = (root / "log").open("ab")
    daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _until_ready(f"{root}/p.sock", daemon, root / "log")
        version = Client(f"{root}/p.sock").call("GET", "/version")["Version"]
        yield Engine(f"podman+{runtime}", f"{root}/p.sock", version, lambda: {daemon.pid})
    finally:
        _end(daemon)
        log.close()
        _clear_mounts(root)
        shutil.rmtree(root, ignore_errors=True)


def _crun_works() -> bool:
    """crun refuses some hybrid cgroup layouts: then podman gets runc, as a user there would give it."""
    return not Path("/sys/fs/cgroup/memory").exists() or not Path("/sys/fs/cgroup/unified").exists()


KINDS: dict[str, tuple[str, Callable[[], contextlib.AbstractContextManager[Engine]]]] = {
    "hakobune": ("", hakobune),
    "dockerd": ("dockerd", dockerd),
    "podman": ("podman", podman),
}


def installed() -> tuple[list[str], list[str]]:
    """(engines that can be measured here, a line for each that cannot)."""
    here, missing = [], []
    for name, (program, _start) in KINDS.items():
        if program and not shutil.which(program):
            missing.append(f"{name}: not installed (no {program} on the PATH), left out")
        else:
            here.append(name)
    return here, missing


def _until_ready(path: str, daemon: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end and daemon.poll() is None:
        with contextlib.suppress(OSError, RuntimeError):
            Client(path).call("GET", "/_ping")
            return
        time.sleep(0.1)
    raise RuntimeError(f"did not come up:\n{log.read_text(errors='replace')[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    below = memory.descendants(process.pid) - {process.pid}
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _make_bridge(name: str) -> None:
    _ip("link", "add", name, "type", "bridge")
    _ip("addr", "add", free_subnet(), "dev", name)
    _ip("link", "set", name, "up")


def _remove_bridge(name: str) -> None:
    with contextlib.suppress(RuntimeError):
        _ip("link", "del", name)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _clear_mounts(root: Path) -> None:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    for place in reversed([line.split()[4] for line in lines if line.split()[4].startswith(str(root))]):
        subprocess.run(["umount", "-l", place], check=False, capture_output=True)
