"""Bytes that arrive on the loop, for a thread that reads them as a file: nothing is kept that has not been asked for.

The thread is one of its own, so that a client that sends slowly holds up nothing but itself. Imports: asyncio.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TypeVar

_T = TypeVar("_T")


class Arriving:
    """`async with Arriving(parts) as source:`; `read` is the thread's, `work` and `rest` the loop's.

    Left, by cancellation too, the thread has ended or ends at once: who waits in `read` gets OSError.
    """

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "arriving")
        self._waiting: concurrent.futures.Future[bytes] | None = None
        self._left = False
        self._kept = b""

    async def __aenter__(self) -> Arriving:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left = True
        if self._waiting is not None:
            self._waiting.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def work(self, call: Callable[[], _T]) -> _T:
        """Do it in the thread, one after the other. Raises what it does."""
        return await self._loop.run_in_executor(self._thread, call)

    async def rest(self) -> None:
        """Take what is left and forget it, so that the sender comes to his end."""
        async for _part in self._parts:
            pass

    def read(self, most: int) -> bytes:
        """1 to `most` bytes, none at the end. Raises what the sender's side does, OSError when it is left."""
        if not self._kept:
            self._kept = self._next()
        data, self._kept = self._kept[:most], self._kept[most:]
        return data

    def _next(self) -> bytes:
        self._waiting = asyncio.run_coroutine_threadsafe(self._part(), self._loop)
        if self._left:  # between the two lines: nobody else would end it
            self._waiting.cancel()
        with contextlib.suppress(concurrent.futures.CancelledError):
            return self._waiting.result()
        raise OSError("nobody wants the archive any more")

    async def _part(self) -> bytes:
        async for part in self._parts:
            if part:
                return part
        return b""
