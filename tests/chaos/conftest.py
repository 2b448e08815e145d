"""One engine for each chaos test, the docker CLI against it, and what it must not leave."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.chaos.audit import Audit

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.processes import kill_and_wait

STARTER = "hako/starter"
Finished = subprocess.CompletedProcess[str]


@dataclass
class Stage:
    """An engine, the docker CLI against it, and its audit."""

    engine: PrivateEngine
    program: str
    audit: Audit
    clients: list[subprocess.Popen[str]] = field(default_factory=list)
    spoiled: bool = False  # a test has failed on it
    began: float = field(default_factory=time.monotonic)

    @property
    def environment(self) -> dict[str, str]:
        """Of a client."""
        return {
            **os.environ,
            "DOCKER_HOST": self.engine.host,
            "DOCKER_CONFIG": str(self.engine.root / "docker"),
        }

    def docker(self, *words: str, timeout: float = 60) -> Finished:
        """Run the CLI to its end."""
        return subprocess.run(
            [self.program, *words], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def ok(self, *words: str) -> str:
        """As `docker`; what it printed."""
        done = self.docker(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def client(self, *words: str) -> subprocess.Popen[str]:
        """Start the CLI and go on."""
        started = subprocess.Popen(
            [self.program, *words], env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.clients.append(started)
        return started

    def dismiss(self) -> None:
        """End every client that `client` started."""
        for client in self.clients:
            client.kill()
            if client.stdout and not client.stdout.closed:
                client.communicate()

    def state(self, name: str) -> str:
        """`status exit-code` of a container; "" when there is none."""
        return self.docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name).stdout.strip()

    def until(self, name: str, state: str, seconds: float = 10) -> None:
        """Wait for a state."""
        end = time.monotonic() + seconds
        while (found := self.state(name)) != state:
            assert time.monotonic() < end, f"{name} is {found!r}, not {state!r}\n{self.engine.tail()}"
            time.sleep(0.02)

    def shim(self, name: str) -> int:
        """The process id of a container's shim."""
        init = self.ok("inspect", "-f", "{{.State.Pid}}", name)
        return int(Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()[1])

    def kill(self, *daemons: str) -> None:
        """SIGKILL to daemons by name."""
        pids = self.engine.daemons()
        for name in daemons:
            kill_and_wait(pids[name])
            if name == "hakod" and self.engine.process:
                self.engine.process.wait()
                self.engine.process = None

    def up(self) -> None:
        """An engine that has ended is started again."""
        if self.engine.process is None or self.engine.process.poll() is not None:
            self.engine.start()

    def clear(self) -> None:
        """Remove every container; nothing of any may be left."""
        self.audit.note()
        if ids := self.ok("ps", "-aq").split():
            self.ok("rm", "-f", "-v", *ids)
        assert self.audit.leaked() == [], self.engine.tail()


@pytest.fixture
def stage(peer: Callable[[str], Path]) -> Iterator[Stage]:
    """An engine of this test's own; leaves nothing, and checks that."""
    program = str(peer("docker"))
    with PrivateEngine() as engine:
        made = Stage(engine, program, Audit(engine))
        made.ok("run", "--rm", STARTER, "/bin/true")
        try:
            yield made
        finally:
            made.dismiss()
        if engine.process is not None:
            made.clear()


@contextlib.contextmanager
def small_disk(program: str, environment: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """An engine on a small file system of its own, exec root and log included."""
    disk = Path(tempfile.mkdtemp(prefix="hk-", dir="/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(disk)], check=True)
    try:
        root = disk / "r"
        root.mkdir()
        with PrivateEngine(root=root, environment=environment or {}) as engine:
            made = Stage(engine, program, Audit(engine))
            made.ok("run", "--rm", STARTER, "/bin/true")
            yield made
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
        disk.rmdir()
