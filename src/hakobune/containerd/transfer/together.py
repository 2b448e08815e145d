"""Several blobs or layers of one transfer at once, and the failure that ended them. Imports: asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

AT_ONCE = 3


async def in_turn(turns: asyncio.Semaphore, work: Coroutine[None, None, None]) -> None:
    """No more at once than there are turns."""
    try:
        async with turns:
            await work
    finally:
        work.close()


def first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that ended the others."""
    found: BaseException = several
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
