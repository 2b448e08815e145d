"""The private hako-containerd of an engine: started when none answers, started again when it dies.

It is a session of its own and outlives an engine that is killed; the next engine finds it by its socket.
Imports: asyncio, subprocess.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Protocol

from hakobune.engine.config import Config
from hakobune.errors import HakoError, Unavailable

READY_SECONDS = 20.0
FIRST_PAUSE = 0.05  # seconds before it is started again
LAST_PAUSE = 5.0
_ANSWER_SECONDS = 0.5
_OTHER_SECONDS = 3.0
_STOP_SECONDS = 10.0
_CREDENTIALS = struct.Struct("3i")  # struct ucred of socket(7): pid, uid, gid


class Manager(Protocol):
    """What is asked of the client."""

    async def ready(self, timeout: float) -> None:
        """Return when the manager answers. Raises Unavailable."""


def command(config: Config) -> list[str]:
    """The argv of an engine's own manager."""
    return [
        *(sys.executable, "-I", "-m", "hakobune.cmd.containerd"),
        *("--address", config.containerd_address, "--root", config.containerd_root),
        *("--state", config.containerd_state),
    ]


class ContainerdProcess:
    """Keeps one manager alive while the engine lives. Nothing to do when the engine was given an address.

    A plain Popen and its pidfd, not asyncio's subprocess: that one kills its child when it is collected, and
    this child outlives us while containers run.
    """

    def __init__(
        self, config: Config, client: Manager, *, argv: Callable[[Config], list[str]] = command
    ) -> None:
        self._config = config
        self._client = client
        self._argv = argv
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def ours(self) -> bool:
        """Whether this process has started it."""
        return self._process is not None

    async def start(self) -> None:
        """Return when a manager answers. Raises Unavailable, soon when ours ends before it answers."""
        if self._config.containerd:
            await self._client.ready(READY_SECONDS)
            return
        if not await self._answers():
            await self._spawn()
        self._watcher = asyncio.create_task(self._watch())

    async def _answers(self) -> bool:
        if not await self._pid():
            return False  # what a killed one left is no reason to wait
        try:
            await self._client.ready(_ANSWER_SECONDS)
        except HakoError:
            return False
        return True

    async def _spawn(self) -> None:
        """Start one and return when it answers. Raises Unavailable, OSError."""
        self._process = subprocess.Popen(
            self._argv(self._config), stdin=subprocess.DEVNULL, start_new_session=True
        )
        ready = asyncio.create_task(self._client.ready(READY_SECONDS))
        ended = asyncio.create_task(_end_of(self._process.pid))
        try:
            await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                await ready
            else:
                await self._other(self._reap())
        finally:
            for task in (ready, ended):
                task.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)

    async def _other(self, code: int | None) -> None:
        """Ours ended early: fine when that was because another one serves our root. Raises Unavailable."""
        try:
            await self._client.ready(_OTHER_SECONDS)
        except Unavailable as err:
            raise Unavailable(f"hako-containerd ended before it was ready, exit code {code}") from err

    def _reap(self) -> int | None:
        """The exit code of our child, which has ended."""
        process, self._process = self._process, None
        return None if process is None else process.wait()

    async def _watch(self) -> None:
        """Start it again for ever; the end of one that we did not start is seen by its process id."""
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            await self._gone()
            if time.monotonic() - began > LAST_PAUSE:
                pause = FIRST_PAUSE
            print("hakod: hako-containerd has ended, starting it again", file=sys.stderr)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE)
            try:
                await self._spawn()
            except (Unavailable, OSError) as err:
                print(f"hakod: {err}", file=sys.stderr)

    async def _gone(self) -> None:
        """Return when nobody serves: ours may have ended because another one does, which answered before that."""
        if self._process is not None:
            await _end_of(self._process.pid)
            self._reap()
        while pid := await self._pid():
            await _end_of(pid)
            with contextlib.suppress(ChildProcessError):  # ours when this process was another program before
                os.waitpid(pid, os.WNOHANG)

    async def _pid(self) -> int:
        """The process that listens at the manager's socket, as the kernel knows it; 0 when nobody does."""
        try:
            _reader, writer = await asyncio.open_unix_connection(self._config.containerd_address)
        except OSError:
            return 0
        peer = writer.get_extra_info("socket")
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        writer.close()
        return int(_CREDENTIALS.unpack(credentials)[0])

    async def replace(self) -> bool:
        """Have it end and be started anew, as the code that we are; false when it is not ours. Raises Unavailable."""
        if self._config.containerd:
            return False
        if (pid := await self._pid()) and not await _ended_by_term(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # it has to bear that at any time
            await _end_of(pid)
        await self._client.ready(READY_SECONDS)  # `_watch` starts the next one
        return True

    async def stop(self, *, keep: bool) -> None:
        """Let it go; unless `keep` (containers run), end it and wait for its end."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        if self._config.containerd:
            return
        if keep:
            if self._process is not None:
                self._process.returncode = 0  # not ours to wait for any more
            return
        ours = self._process.pid if self._process is not None else 0
        for pid in {ours, await self._pid()} - {0}:
            if await _ended_by_term(pid) and pid == ours:
                self._reap()


async def _ended_by_term(pid: int) -> bool:
    """Ask it to end; whether it does in its time."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(_end_of(pid), _STOP_SECONDS)
    except TimeoutError:
        print(f"hakod: hako-containerd (process {pid}) does not end on SIGTERM", file=sys.stderr)
        return False
    return True


async def _end_of(pid: int) -> None:
    """Return when a process has ended; it is not reaped here."""
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
