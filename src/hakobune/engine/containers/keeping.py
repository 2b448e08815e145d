"""Containers whose shim is not ours: a keeper beside them has their streams (shim/keeper.py).

Such a container has a directory of FIFOs, by which one is known whatever the settings say by now. Imports: the room's own
modules, shim.client.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys

from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.model import Container
from hakobune.engine.runtime import Streams
from hakobune.errors import HakoError, Unavailable
from hakobune.shim.client import Side
from hakobune.wire.side import fifo

START_SECONDS = 20.0


def kept(deps: Deps, container: Container) -> bool:
    """Whether it has a keeper, or had."""
    return os.path.isdir(deps.fifos(container))


async def begin(deps: Deps, container: Container, wanted: Streams) -> Streams:
    """A keeper for init; what to tell the shim of its streams. Raises Unavailable."""
    drop(deps, container)
    os.makedirs(deps.fifos(container), mode=0o700)
    await _start(deps, container, wanted)
    return _paths(deps, container, "", stdin=bool(wanted.stdin), terminal=wanted.terminal)


async def _start(deps: Deps, container: Container, wanted: Streams) -> None:
    words = (container.id, deps.side_path(container), deps.fifos(container), wanted.stdout, wanted.stdin,
             "1" if wanted.terminal else "")  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "hakobune.cmd.keeper", *words, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, cwd="/", start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    word = b""
    with contextlib.suppress(TimeoutError):
        word = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
    await process.wait()  # it has left a child of nobody's
    if word != b"\n":
        raise Unavailable(f"the keeper of container {container.short_id} did not come up")


async def connect(deps: Deps, container: Container, wanted: Streams) -> Side:
    """Its side socket; a keeper that was killed is replaced, also later. Raises Unavailable."""
    path = deps.side_path(container)
    try:
        found = await Side.connect(path)
    except Unavailable:
        await _start(deps, container, wanted)
        found = await Side.connect(path)

    def replace() -> None:
        if container.state.running and container.side is found:
            container.chore(_revive(deps, container, wanted))

    def input_ended(exec_id: str) -> None:
        container.chore(_close_input(deps, container, exec_id))

    found.on_lost, found.on_input_end = replace, input_ended
    return found


async def _revive(deps: Deps, container: Container, wanted: Streams) -> None:
    try:
        container.side = await connect(deps, container, wanted)
    except (HakoError, OSError) as err:
        print(f"hakod: keeper of container {container.short_id}: {err}", file=sys.stderr)


async def _close_input(deps: Deps, container: Container, exec_id: str) -> None:
    """The shim holds an end of the FIFO, too."""
    with contextlib.suppress(HakoError):
        await deps.runtime.close_input(container.id, exec_id)


async def expect(deps: Deps, container: Container, exec_id: str, wanted: Streams) -> Streams:
    """What to tell the shim of an exec's streams, which the keeper has by then. Raises HakoError."""
    if not wanted.stdout:
        return Streams(terminal=wanted.terminal)
    if container.side is None:
        raise Unavailable(f"the keeper of container {container.short_id} is gone")
    await container.side.expect(exec_id, terminal=wanted.terminal, stdin=bool(wanted.stdin))
    return _paths(deps, container, exec_id, stdin=bool(wanted.stdin), terminal=wanted.terminal)


def _paths(deps: Deps, container: Container, exec_id: str, *, stdin: bool, terminal: bool) -> Streams:
    directory = deps.fifos(container)
    return Streams(
        fifo(directory, exec_id, "stdin") if stdin else "", fifo(directory, exec_id, "stdout"),
        "" if terminal else fifo(directory, exec_id, "stderr"), terminal,
    )  # fmt: skip


async def drain(deps: Deps, container: Container, exec_id: str = "") -> None:
    """Before an end is recorded: its output is where it belongs. Nothing to do for our own shims, which see to that."""
    if container.side is not None and kept(deps, container):
        with contextlib.suppress(HakoError):
            await container.side.drain(exec_id)


def drop(deps: Deps, container: Container) -> None:
    """What a keeper that was killed has left; a living one that nobody can find ends by itself."""
    shutil.rmtree(deps.fifos(container), ignore_errors=True)
