"""A large blob over several connections at a time, its bytes in order.

The window of pieces that are fetched ahead bounds the memory: `AHEAD` pieces of `PIECE` bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Sequence

from hakobune.registry.repository import Repository
from hakobune.spec.descriptor import Descriptor

PIECE = 4 << 20
AHEAD = 3
WORTH = 32 << 20  # bytes from which on it is done


async def in_order(
    repository: Repository, descriptor: Descriptor, offset: int = 0, urls: Sequence[str] = ()
) -> AsyncGenerator[bytes, None]:
    """The bytes from `offset` on. Raises what `Repository.blob` does."""
    if descriptor.size - offset < WORTH or urls or not await repository.ranges(descriptor):
        async with contextlib.aclosing(repository.blob(descriptor, offset=offset, urls=urls)) as parts:
            async for part in parts:
                yield part
        return
    starts = iter(range(offset, descriptor.size, PIECE))
    running: deque[asyncio.Task[list[bytes]]] = deque()
    try:
        while True:
            while len(running) < AHEAD and (start := next(starts, -1)) >= 0:
                running.append(asyncio.create_task(_piece(repository, descriptor, start)))
            if not running:
                return
            for part in await running[0]:
                yield part
            running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _piece(repository: Repository, descriptor: Descriptor, start: int) -> list[bytes]:
    end = min(start + PIECE, descriptor.size)
    async with contextlib.aclosing(repository.blob(descriptor, offset=start, end=end)) as parts:
        return [part async for part in parts]
