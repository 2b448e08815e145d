"""The private hako-containerd of an engine: started when none answers, started again when it dies.

It is a session of its own and outlives an engine that is killed; the next engine finds it by its socket.
Imports: asyncio, containerd.client.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time

from hakobune.containerd.client import Client
from hakobune.engine.config import Config
from hakobune.errors import HakoError, Unavailable

READY_SECONDS = 20.0
FIRST_PAUSE = 0.05  # seconds before it is started again
LAST_PAUSE = 5.0
_STOP_SECONDS = 10.0


class ContainerdProcess:
    """Keeps one manager alive while the engine lives. Nothing to do when the engine was given an address."""

    def __init__(self, config: Config, client: Client) -> None:
        self._config = config
        self._client = client
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when a manager answers. Raises Unavailable."""
        if self._config.containerd:
            await self._client.ready(READY_SECONDS)
            return
        if not await self._answers():
            await self._spawn()
        await self._client.ready(READY_SECONDS)
        self._watcher = asyncio.create_task(self._watch())

    async def _answers(self) -> bool:
        if not os.path.exists(self._config.containerd_address):
            return False
        try:
            await self._client.ready(0.5)
        except HakoError:
            return False
        return True

    async def _spawn(self) -> None:
        config = self._config
        words = ("--address", config.containerd_address, "--root", config.containerd_root)
        self._process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-I",
                "-m",
                "hakobune.cmd.containerd",
                *words,
                "--state",
                config.containerd_state,
            ),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )

    async def _watch(self) -> None:
        """Start it again for ever; one that we did not start is found dead by its lock file's owner."""
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            await self._gone()
            if time.monotonic() - began > LAST_PAUSE:
                pause = FIRST_PAUSE
            print("hakod: hako-containerd has ended, starting it again", file=sys.stderr)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE)
            with contextlib.suppress(Unavailable, OSError):
                await self._spawn()
                await self._client.ready(READY_SECONDS)

    async def _gone(self) -> None:
        if self._process is not None:
            await self._process.wait()
            return
        pid = await self._pid()
        if pid:
            await _end_of(pid)

    async def _pid(self) -> int:
        """The process that listens at the manager's socket, as the kernel knows it; 0 when nobody does."""
        try:
            _reader, writer = await asyncio.open_unix_connection(self._config.containerd_address)
        except OSError:
            return 0
        sock = writer.get_extra_info("socket")
        credentials = sock.getsockopt(1, 17, 12)  # SOL_SOCKET, SO_PEERCRED: pid, uid, gid
        writer.close()
        return int.from_bytes(credentials[:4], sys.byteorder)

    async def stop(self, *, keep: bool) -> None:
        """Let it go; unless `keep` (containers run), end it and wait for its end."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        if keep or self._config.containerd:
            return
        pid = self._process.pid if self._process is not None else await self._pid()
        if not pid:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait() if self._process else _end_of(pid), _STOP_SECONDS)


async def _end_of(pid: int) -> None:
    """Return when a process that is not our child has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)
