"""A blob on its way into the store, for somebody who reads its file meanwhile."""

from __future__ import annotations

import asyncio


class Growing:
    """How many of its bytes lie in the file. Belongs to one loop."""

    def __init__(self) -> None:
        self.offset = -1  # nothing has been heard yet
        self.whole = False  # all of it is there, and is what it should be
        self.cut = False  # what has been read so far is of no use
        self._news = asyncio.Event()

    def moved(self, offset: int) -> None:
        """So many by now. Fewer than before: another try, from its beginning."""
        self.cut = self.cut or offset < self.offset
        self.offset = max(offset, 0)
        self._news.set()

    def end(self, *, whole: bool) -> None:
        """Nothing more comes."""
        self.whole, self.cut = whole and not self.cut, self.cut or not whole
        self._news.set()

    @property
    def over(self) -> bool:
        """Whether nothing more comes that is of use."""
        return self.whole or self.cut

    async def further(self, than: int) -> int:
        """The offset when it is more than that, or when it is over."""
        while not self.over and self.offset <= than:
            self._news.clear()
            await self._news.wait()
        return self.offset
