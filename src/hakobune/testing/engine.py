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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hakobune.cli.failure import ApiFailure, Failure
from hakobune.cli.http import Client
from hakobune.testing.processes import command_lines, kill_and_wait
from hakobune.testing.traces import Traces

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
    environment: Mapping[str, str] = field(default_factory=dict)  # beside ours, for the daemons
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        """What the search for leftovers looks for."""
        self._traces = Traces(self.root, self.bridge)

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
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **self.environment},
            )  # fmt: skip
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
        for pid, line in command_lines():
            module = next((name for module, name in names.items() if f" {module} " in f"{line} "), None)
            if module and str(self.root) in line:
                found.setdefault(module, pid)
        return found

    def kill(self) -> list[int]:
        """SIGKILL to both daemons, as a crash would; returns their pids when they are gone."""
        pids = [pid for name, pid in self.daemons().items() if name != "zygote"]
        for pid in pids:
            kill_and_wait(pid)
        if self.process:
            self.process.wait()
            self.process = None
        return pids

    def containers(self) -> list[str]:
        """Ids of every container; they are remembered for the search for leftovers."""
        ids = [str(entry["Id"]) for entry in self.client.get("/containers/json?all=1")]
        self._traces.ids.update(ids)
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

        Whatever is left is taken away all the same, so that a failed test does not spoil the next. An engine
        that was killed by `kill()` or never came up is not blamed for what it has left.
        """
        problems: list[str] = []
        was_up = self.process is not None
        try:
            if was_up:
                self._dismiss()
        except (EngineFailed, Failure, OSError) as err:
            problems.append(str(err))
        self._traces.recall()
        if was_up and (problems or not _until(lambda: not self.leftovers(), 5.0, None)):
            problems += self.leftovers()
        problems += [f"cannot be taken away: {line}" for line in self._traces.sweep()]
        if self.process is not None:
            self.process.wait()
            self.process = None
        log = self.tail(15)
        shutil.rmtree(self.root, ignore_errors=True)
        if problems and check:
            raise Leftovers("\n".join([*problems, "--- end of the engine's log", log]))

    def _dismiss(self) -> None:
        """Containers first, then the daemons. Raises EngineFailed, Failure, OSError."""
        assert self.process is not None
        code = self.process.poll()
        if code is not None:
            raise EngineFailed(f"hakod had ended by itself, with {code}")
        for identity in self.containers():
            with contextlib.suppress(ApiFailure):
                self.client.delete(f"/containers/{identity}?force=1&v=1")
        self.terminate()

    def leftovers(self) -> list[str]:
        """What is still there of this engine, one line each; empty when it left nothing."""
        return self._traces.found()

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


@contextlib.contextmanager
def on_a_small_disk(megabytes: int, arguments: tuple[str, ...] = ()) -> Iterator[PrivateEngine]:
    """An engine whose data root is a file system of its own of that size."""
    disk = Path(tempfile.mkdtemp(prefix="hk-disk-", dir="/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tight", disk], check=True)
    made = PrivateEngine(arguments=arguments)
    (made.root / "d").symlink_to(disk)
    try:
        with made:
            yield made
    finally:
        subprocess.run(["umount", "-l", disk], check=False)
        os.rmdir(disk)


def free_subnet() -> str:
    """A /24 for a bridge that no route of this host covers, as `10.x.y.1/24`."""
    taken = {line.split()[1] for line in Path("/proc/net/route").read_text().splitlines()[1:]}
    while True:
        second, third = 200 + secrets.randbelow(50), secrets.randbelow(256)
        if f"00{third:02X}{second:02X}0A" not in taken:
            return f"10.{second}.{third}.1/24"


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
