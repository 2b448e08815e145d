"""Turns: pieces of work that hold the event loop up take them, one in each pass of the loop.

A request that is quick to answer comes in between them: it waits for one such piece, not for all that are ready. A turn
is nothing that has to be given back, so nobody is held up by one who waits for a slow shim. Imports: nothing of ours.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """`await turns.take()` before the piece, which is what runs until the next await. Belongs to one loop."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._giving = False

    async def take(self) -> None:
        """Wait for a pass, in the order of asking. Whoever is cancelled is passed over."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if not self._giving:
            self._giving = True
            loop.call_soon(self._give)
        await turn

    def _give(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._give)
                return
        self._giving = False
