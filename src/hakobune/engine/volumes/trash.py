"""Directories on their way out: moved aside at once, emptied by a thread, and at the next start if we die.

A name in the trash begins with a dot, which no volume's name does.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import secrets
import shutil

_PREFIX = ".gone-"


class Trash:
    """Belongs to one directory. `throw` is for the loop's thread, the work is done elsewhere."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "hako-volumes")
        self._last: concurrent.futures.Future[None] | None = None

    def left_over(self) -> list[str]:
        """Names of what a crash left here; all of it goes now."""
        names = []
        for entry in os.listdir(self._root):
            if entry.startswith(_PREFIX):
                names.append(entry.removeprefix(_PREFIX).partition("-")[2])
                self._empty(os.path.join(self._root, entry))
        return names

    def throw(self, name: str) -> None:
        """Take `root/name` out of sight, to be deleted soon. Silent when it is not there; raises OSError."""
        place = os.path.join(self._root, f"{_PREFIX}{secrets.token_hex(4)}-{name}"[:255])
        try:
            os.rename(os.path.join(self._root, name), place)
        except FileNotFoundError:
            return
        self._empty(place)

    def _empty(self, place: str) -> None:
        self._last = self._thread.submit(shutil.rmtree, place, True)

    async def emptied(self) -> None:
        """Wait until all that was thrown is deleted."""
        if self._last is not None:
            await asyncio.wrap_future(self._last)
