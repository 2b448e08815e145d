"""A container's files, by the program that sees them (cmd/files.py): it gets a view and says a line, then data.

The program has a mount namespace of its own and ends with the request that it was started for; whoever asks for a
container that does not run, and may write to it, holds its lock, so that its root is never mounted twice for writing.
Imports: files.view, the room's own modules.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import Any

from hakobune import errors
from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.model import Container
from hakobune.errors import Conflict, HakoError, Internal, NotFound
from hakobune.files.view import View, Volume, read_only, with_root
from hakobune.transport import apart

_CHUNK = 1 << 18
_LENT = ("hostname", "hosts", "resolv.conf")


class Program:
    """One run of it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> Any:
        """The next line of its output as JSON; None at the end. Raises what the program failed with."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            await self.finish()
            return None
        return json.loads(line)

    async def parts(self) -> AsyncIterator[bytes]:
        """The rest of its output. Raises what the program failed with."""
        assert self._process.stdout is not None
        while part := await self._process.stdout.read(_CHUNK):
            yield part
        await self.finish()

    async def feed(self, parts: AsyncIterator[bytes]) -> None:
        """Give it input, and wait for its end. Raises what it failed with, and what `parts` does."""
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            async for part in parts:
                stdin.write(part)
                await stdin.drain()
        stdin.close()
        await self.finish()

    async def finish(self) -> None:
        """Wait for its end. Raises the HakoError that it names, Internal for any other failure."""
        assert self._process.stderr is not None
        told = await self._process.stderr.read()
        if await self._process.wait():
            raise _failure(told, self._process.returncode or 0)


def _failure(told: bytes, status: int) -> HakoError:
    last = told.decode("utf-8", "replace").strip().rpartition("\n")[2]
    try:
        said = json.loads(last)
        kind = getattr(errors, said["kind"])
        return kind(said["error"]) if issubclass(kind, HakoError) else Internal(said["error"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return Internal(f"the program for a container's files ended with status {status}: {last}")


@contextlib.asynccontextmanager
async def run(
    words: Sequence[str], fds: Sequence[int] = (), *, fed: bool = False
) -> AsyncGenerator[Program, None]:
    """The program with these arguments; it does not outlive the context."""
    stdin = asyncio.subprocess.PIPE if fed else asyncio.subprocess.DEVNULL
    async with apart.program("files", *words, stdin=stdin, keep=fds, limit=_CHUNK) as process:
        yield Program(process)


@contextlib.asynccontextmanager
async def open_root(deps: Deps, container: Container) -> AsyncGenerator[tuple[int, int], None]:
    """(mount namespace, root) of a running container as descriptors; (-1, -1) of one that does not run.

    Its process is asked about after they are open: they are of no other one that has got its number since.
    """
    pid = container.state.pid
    if not container.state.running or not pid:
        yield -1, -1
        return
    with contextlib.ExitStack() as stack:
        try:
            root = stack.enter_context(_opened(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY))
            namespace = stack.enter_context(_opened(f"/proc/{pid}/ns/mnt", os.O_RDONLY))
            standing = await deps.runtime.process_standing(container.id)
            alive = standing.pid == pid and standing.status in ("running", "paused")
        except (OSError, NotFound):
            alive = False
        if not alive:
            raise Conflict(f"container {container.id} is just ending: try again")
        yield namespace, root


@contextlib.contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


async def view(deps: Deps, container: Container, *, whole: bool) -> View:
    """What it sees of its files; `whole`: with its volumes, and for writing. Raises NotFound when it is gone."""
    mounts = await deps.runtime.rootfs(container.id)
    sealed = bool(container.host.get("ReadonlyRootfs"))
    if not whole:
        return View(deps.directory(container), read_only(mounts))
    return View(deps.directory(container), tuple(mounts), tuple(_volumes(deps, container)), sealed=sealed)


def _volumes(deps: Deps, container: Container) -> Iterator[Volume]:
    taken = set()
    for point in container.mounts:
        if point.type != "tmpfs":
            taken.add(point.target)
            yield Volume(point.source, point.target, point.read_only)
    for name in _LENT:
        if f"/etc/{name}" not in taken:
            yield Volume(f"{deps.directory(container)}/{name}", f"/etc/{name}", named=False)


@contextlib.asynccontextmanager
async def looking(
    deps: Deps, container: Container, verb: str, *words: str, whole: bool = True, fed: bool = False
) -> AsyncGenerator[Program, None]:
    """The program at work on a container. Of one that does not run, the lock is held meanwhile if `whole`."""
    async with contextlib.AsyncExitStack() as lock, contextlib.AsyncExitStack() as stack:
        await lock.enter_async_context(container.lock)
        if container.removed:
            raise NotFound(f"No such container: {container.id}")
        seen = await view(deps, container, whole=whole)
        async with open_root(deps, container) as (namespace, root):
            fds = [fd for fd in (namespace, root) if fd >= 0]
            words = (verb, with_root(seen, namespace, root).text(), *words)
            program = await stack.enter_async_context(run(words, fds, fed=fed))
        if fds or not whole:
            await lock.aclose()
        yield program
