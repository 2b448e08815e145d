"""A private engine: `hakod` with roots, bridge, addresses and socket of its own, which leaves nothing behind.

Tests, the demo and the benchmark start one each, beside whatever else runs on the machine. `stop()` removes
the containers, ends the daemons and then looks for leftovers: mounts, links, control groups, processes,
network namespaces, nftables tables and files that are this engine's.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hakobune.cli.failure import ApiFailure, Failure
from hakobune.cli.http import Client

_READY_SECONDS = 30.0
_STOP_SECONDS = 30.0
_TICK = 0.02


class Leftovers(AssertionError):
    """What an engine should have taken away and did not; the message lists it."""


class EngineFailed(AssertionError):
    """The engine did not start, or did not stop; the message ends with its log."""


@dataclass
class PrivateEngine:
    """Start with `start()` or `with`; `client` speaks to it, `hako(…)` runs our command against it.

    `root` is short on purpose: a unix socket's path has 107 bytes. The engine's log is `root/hakod.log`.
    """

    arguments: tuple[str, ...] = ()
    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="hk-", dir="/tmp")))
    bridge: str = field(default_factory=lambda: f"hk{secrets.token_hex(4)}")
    bip: str = field(default_factory=lambda: free_subnet())
    process: subprocess.Popen[bytes] | None = None
    seen: set[str] = field(default_factory=set)

    @property
    def socket(self) -> Path:
        """Path of the API socket."""
        return self.root / "docker.sock"

    @property
    def host(self) -> str:
        """What -H and DOCKER_HOST take."""
        return f"unix://{self.socket}"

    @property
    def client(self) -> Client:
        """A client of this engine's API."""
        return Client(self.host)

    @property
    def log(self) -> Path:
        """Everything that the daemons print."""
        return self.root / "hakod.log"

    def command(self) -> list[str]:
        """The argv of this engine's hakod."""
        return [
            *(sys.executable, "-I", "-m", "hakobune.cmd.hakod", "-H", self.host),
            *("--data-root", str(self.root / "d"), "--exec-root", str(self.root / "e")),
            *("--pidfile", str(self.root / "hakod.pid")),
            *("--bridge", self.bridge, "--bip", self.bip),
            *self.arguments,
        ]

    def start(self) -> Self:
        """Start hakod and return when it answers `/_ping`. Raises EngineFailed with the log."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        if not _until(self._answers, _READY_SECONDS, self.process):
            raise EngineFailed(f"hakod did not come up:\n{self.tail()}")
        return self

    def _answers(self) -> bool:
        try:
            return bool(self.client.get("/_ping") == "OK")
        except (Failure, OSError, ValueError):
            return False

    def tail(self, lines: int = 40) -> str:
        """The last lines of the log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def hako(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the `hako` command against this engine; stdout and stderr are captured as text."""
        line = [sys.executable, "-I", "-m", "hakobune.cmd.hako", "-H", self.host, *arguments]
        options = {"stdin": subprocess.DEVNULL, "timeout": 60, "capture_output": True, "text": True} | options
        if "input" in options:
            del options["stdin"]
        return subprocess.run(line, check=False, **options)

    def daemons(self) -> dict[str, int]:
        """Pids by name of hakod, hako-containerd and zygote of this engine, by their command lines."""
        names = {
            "hakobune.cmd.hakod": "hakod",
            "hakobune.cmd.containerd": "hako-containerd",
            "hakobune.cmd.zygote": "zygote",
        }
        found: dict[str, int] = {}
        for pid, line in _command_lines():
            module = next((name for module, name in names.items() if f" {module} " in f"{line} "), None)
            if module and str(self.root) in line:
                found.setdefault(module, pid)
        return found

    def kill(self) -> list[int]:
        """SIGKILL to both daemons, as a crash would; returns their pids when they are gone."""
        pids = [pid for name, pid in self.daemons().items() if name != "zygote"]
        for pid in pids:
            _kill_and_wait(pid)
        if self.process:
            self.process.wait()
            self.process = None
        return pids

    def containers(self) -> list[str]:
        """Ids of every container; they are remembered for the search for leftovers."""
        ids = [str(entry["Id"]) for entry in self.client.get("/containers/json?all=1")]
        self.seen.update(ids)
        return ids

    def terminate(self) -> None:
        """SIGTERM to hakod and wait for its end; raises EngineFailed when it does not end."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired as err:
            self.process.kill()
            self.process.wait()
            raise EngineFailed(f"hakod did not end on SIGTERM:\n{self.tail()}") from err
        self.process = None

    def stop(self, *, check: bool = True) -> None:
        """Remove every container, end the engine, delete its roots. Raises Leftovers when something is left.

        Whatever is left is taken away all the same, so that a failed test does not spoil the next.
        """
        problems: list[str] = []
        try:
            if self.process is not None and self.process.poll() is None:
                for identity in self.containers():
                    with contextlib.suppress(ApiFailure):
                        self.client.delete(f"/containers/{identity}?force=1&v=1")
                self.terminate()
        except (EngineFailed, Failure, OSError) as err:
            problems.append(str(err))
        if problems or not _until(lambda: not self.leftovers(), 5.0, None):
            problems += self.leftovers()
        self._sweep()
        log = self.tail(15)
        shutil.rmtree(self.root, ignore_errors=True)
        if problems and check:
            raise Leftovers("\n".join([*problems, "--- end of the engine's log", log]))

    def leftovers(self) -> list[str]:
        """What is still there of this engine, one line each; empty when it left nothing."""
        found = [f"process {pid}: {line[:100]}" for pid, line in self._processes()]
        found += [f"mount {place}" for place in self._mounts()]
        found += [f"link {name}" for name in self._links()]
        found += [f"control group {path}" for path in self._cgroups()]
        found += [f"nftables table {name}" for name in nft_tables() if self.bridge in name]
        return found

    def _processes(self) -> list[tuple[int, str]]:
        root = str(self.root)
        found = []
        for pid, line in _command_lines():
            if pid == os.getpid() or " -m hakobune.cmd.hako " in f"{line} ":
                continue
            if (root in line and "hakobune" in line) or self._is_inside(pid):
                found.append((pid, line))
        return found

    def _is_inside(self, pid: int) -> bool:
        if not self.seen:
            return False
        with contextlib.suppress(OSError):
            groups = Path(f"/proc/{pid}/cgroup").read_text()
            return any(identity in groups for identity in self.seen)
        return False

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line.split()[4] for line in lines if line.split()[4].startswith(f"{self.root}/")]

    def _links(self) -> list[str]:
        """The bridge, and host ends of pairs that still are its ports."""
        base = Path("/sys/class/net")
        names = [self.bridge] if (base / self.bridge).exists() else []
        for link in base.iterdir():
            with contextlib.suppress(OSError):
                if os.path.basename(os.readlink(link / "master")) == self.bridge:
                    names.append(link.name)
        return names

    def _cgroups(self) -> list[str]:
        found = []
        for top, directories, _ in os.walk("/sys/fs/cgroup"):
            found += [os.path.join(top, name) for name in directories if name in self.seen]
        return found

    def _sweep(self) -> None:
        """Take away by force what the engine left."""
        for pid in self.daemons().values():
            _kill_and_wait(pid)
        for pid, _ in self._processes():
            _kill_and_wait(pid)
        for place in reversed(self._mounts()):
            subprocess.run(["umount", "-l", place], check=False, capture_output=True)
        for path in sorted(self._cgroups(), reverse=True):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        self.process = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop(check=False)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(check=kind is None)


def free_subnet() -> str:
    """A /24 for a bridge that no route of this host covers, as `10.x.y.1/24`."""
    taken = {line.split()[1] for line in Path("/proc/net/route").read_text().splitlines()[1:]}
    while True:
        second, third = 200 + secrets.randbelow(50), secrets.randbelow(256)
        if f"00{third:02X}{second:02X}0A" not in taken:
            return f"10.{second}.{third}.1/24"


def nft_tables() -> list[str]:
    """Names of all nftables tables, where the program that lists them is installed; else empty."""
    program = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")
    if not program:
        return []
    listed = subprocess.run([program, "list", "tables"], check=False, capture_output=True, text=True)
    return [line.split()[-1] for line in listed.stdout.splitlines() if line.startswith("table ")]


def _until(condition: Any, seconds: float, process: subprocess.Popen[bytes] | None) -> bool:
    """Poll `condition` until it is true; gives up after `seconds` or when `process` has ended."""
    end = time.monotonic() + seconds
    nothing = select.poll()
    while True:
        if condition():
            return True
        if time.monotonic() > end or (process is not None and process.poll() is not None):
            return False
        nothing.poll(_TICK * 1000)


def _command_lines() -> list[tuple[int, str]]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                raw = Path(f"/proc/{name}/cmdline").read_bytes()
                if raw:
                    found.append((int(name), raw.replace(b"\0", b" ").decode(errors="replace").strip()))
    return found


def _kill_and_wait(pid: int) -> None:
    """SIGKILL by pidfd and wait until the process is gone."""
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            gone = select.poll()
            gone.register(handle, select.POLLIN)
            gone.poll(5000)
        finally:
            os.close(handle)
