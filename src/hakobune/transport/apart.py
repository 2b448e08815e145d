"""One piece of work in a process of its own: a program of ours that does not outlive whoever asked for it.

A hostile archive meets nothing but such a process, and it uses another processor.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from typing import IO, Any


@contextlib.asynccontextmanager
async def program(
    module: str, *words: str, stdin: int | IO[Any] = DEVNULL, keep: Sequence[int] = (), limit: int = 1 << 16
) -> AsyncGenerator[Process, None]:
    """`python -m hakobune.cmd.MODULE WORDS`, its output in pipes; killed when the context ends before it. Raises OSError.

    `keep`: descriptors that it gets under their numbers; `limit`: bytes of output that may wait to be read.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", f"hakobune.cmd.{module}", *words, stdin=stdin, stdout=PIPE, stderr=PIPE,
        pass_fds=keep, start_new_session=True, limit=limit,
    )  # fmt: skip
    try:
        yield process
    finally:
        await asyncio.shield(_end(process))


async def _end(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # asyncio tells of an end only after the pipes', and those of a reader that is paused never come
        await process.communicate()


async def done(
    module: str, *words: str, stdin: int | IO[Any] = DEVNULL, keep: Sequence[int] = ()
) -> tuple[int, bytes, bytes]:
    """As `program`, to its end: (exit status, output, error output)."""
    async with program(module, *words, stdin=stdin, keep=keep) as process:
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out, err
