"""A private real containerd, Debian's or a current one, for tests: own roots and socket; leaves nothing.

It finds our shim's program on its PATH, and before all others the shims that were built with it. Plug-ins that tests do not need are off. Imports: subprocess.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from hakobune.testing.processes import command_lines, kill_and_wait

START_SECONDS = 30.0
_CONFIG = """version = 2
root = "{base}/d"
state = "{base}/e"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{base}/c.sock"
"""


class RealContainerd:
    """`with RealContainerd(program) as it:` serves at `it.address`; `kill` is kill -9, `start` has it back."""

    def __init__(self, program: str) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="hc-", dir="/tmp"))
        self.address = str(self.base / "c.sock")
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        (self.base / "config.toml").write_text(_CONFIG.format(base=self.base))

    def start(self) -> None:
        """Returns when it serves. Raises TimeoutError with its log."""
        environment = os.environ | {
            "PATH": f"{Path(self._program).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HAKO_SHIM_STATE": str(self.base / "s"),
        }
        with open(self.base / "log", "ab") as log:
            self._process = subprocess.Popen(
                [self._program, "--config", str(self.base / "config.toml")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            )  # fmt: skip
        end = time.monotonic() + START_SECONDS
        while not self._serves():
            if time.monotonic() > end or self._process.poll() is not None:
                raise TimeoutError(f"containerd did not come up: {self.tail()}")
            time.sleep(0.05)

    def _serves(self) -> bool:
        line = ["ctr", "--address", self.address, "--connect-timeout", "1s", "version"]
        return subprocess.run(line, capture_output=True, check=False).returncode == 0

    def tail(self) -> str:
        """The end of its log."""
        return (self.base / "log").read_text(errors="replace")[-3000:]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, by a signal."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(START_SECONDS)

    def left(self) -> list[str]:
        """Processes and mounts that are its, or its shims'."""
        found = [f"process {pid} {line[:100]}" for pid, line in command_lines() if str(self.base) in line]
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return found + [f"mount {place}" for place in mounts if place.startswith(str(self.base))]

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill(signal.SIGTERM)
        for pid, line in command_lines():  # the zygote ends by itself, but later
            if "hakobune.cmd.zygote" in line and str(self.base) in line:
                os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 10
        while (left := self.left()) and time.monotonic() < end:
            time.sleep(0.05)
        for pid, line in command_lines():
            if str(self.base) in line:
                kill_and_wait(pid)
        for place in [one.removeprefix("mount ") for one in reversed(left) if one.startswith("mount ")]:
            subprocess.run(["umount", "-l", place], check=False)
        shutil.rmtree(self.base, ignore_errors=True)
        if left and kind is None:
            raise AssertionError(f"containerd has left {left}")
