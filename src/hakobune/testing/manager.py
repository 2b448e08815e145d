"""A private hako-containerd for tests and benchmarks: own roots, socket and zygote; leaves nothing.

Imports: containerd.client, subprocess.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hakobune.containerd.client import Client

START_SECONDS = 20.0
T = TypeVar("T")


@cache
def _runner() -> asyncio.Runner:
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner


def run(work: Coroutine[Any, Any, T], timeout: float = 60.0) -> T:
    """Run it in this process's one event loop: gRPC's poller stays bound to the first loop that it saw."""
    return _runner().run(asyncio.wait_for(work, timeout))


class PrivateManager:
    """`start` and `end` it; `kill` is kill -9. The directory is short, since sockets live in it."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="hm-", dir="/tmp"))
        self.address = str(self.base / "c.sock")
        self.state = str(self.base / "e")
        self.root = str(self.base / "d")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The manager's."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Execute it; `client().ready` waits for it."""
        with open(self.base / "log", "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", "hakobune.cmd.containerd", "--address", self.address,
                 "--root", self.root, "--state", self.state],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    async def client(self, namespace: str = "test") -> Client:
        """A client that has had an answer."""
        client = Client(self.address, namespace)
        await client.ready(START_SECONDS)
        return client

    def signal(self, number: int) -> int:
        """Send a signal that ends it; its exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(START_SECONDS)

    def wait(self) -> int:
        """Until it has ended by itself; its exit status."""
        assert self._process is not None
        return self._process.wait(START_SECONDS)

    def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)

    def end(self) -> None:
        """Every container, the manager, the zygote and the directory go."""
        if self._process is not None and self._process.poll() is None:
            run(self._empty())
            self.signal(signal.SIGTERM)
        self._retire_zygote()
        shutil.rmtree(self.base, ignore_errors=True)

    async def _empty(self) -> None:
        client = await self.client()
        try:
            for space in await client.namespaces.list():
                other = Client(self.address, space.name)
                for task in await other.tasks.list():
                    await _remove(other, task.id)
                await other.close()
        finally:
            await client.close()

    def _retire_zygote(self) -> None:
        """Wait for its end: a shim that is left keeps it, and shows up as a process that a test leaked."""
        path = f"{self.state}/zygote.sock"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as zygote:
                zygote.connect(path)
                zygote.send(b"RETIRE")
                zygote.recv(64)
        except OSError:
            return
        deadline = time.monotonic() + 5
        while os.path.exists(path) and time.monotonic() < deadline:
            time.sleep(0.01)


async def _remove(client: Client, task: str) -> None:
    state = await client.tasks.get(task)
    if state.status != "stopped":
        await client.tasks.kill(task, signal.SIGKILL, everyone=True)
        await client.tasks.wait(task)
    await client.tasks.delete(task)
