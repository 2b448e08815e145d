"""Images removed when the disk fills up: from the high mark on, the least recently used first, down to the low mark.

Off unless a high mark is set. An image that a container was made of stays, whether that runs or not, and one that was
used, pulled or named a moment ago. Used is what a container was made of or exists of: the last time is on record, a
minute's worth may be lost by a crash. Imports: the room's own modules, persist.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hakobune.engine.images.images import Images
from hakobune.engine.images.model import Image
from hakobune.engine.images.remove import take_away
from hakobune.engine.runtime import SNAPSHOTTER
from hakobune.errors import HakoError, InvalidArgument, Unimplemented
from hakobune.persist.database import Database

MIGRATION = "CREATE TABLE image_use (id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;"
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Marks:
    """`high` and `low` in percent of the fullest of the disks of the engine's data and of the manager's stores, 0 for off; `age` and `every` in seconds."""

    high: int = 0
    low: int = 0
    age: int = 120
    every: int = 60


def marks(high: int, low: int | None, age: int, every: int) -> Marks:
    """Checked; without a low mark it is ten below the high one. Raises InvalidArgument naming the flag."""
    if not 0 <= high <= 100:
        raise InvalidArgument(f"--image-gc-high: {high} is not between 0 (off) and 100 percent")
    low = max(high - 10, 0) if low is None else low
    if not 0 <= low <= high:
        raise InvalidArgument(f"--image-gc-low: {low} is not between 0 and the high mark, {high} percent")
    if age < 0:
        raise InvalidArgument(f"--image-gc-age: {age} is no number of seconds")
    if every < 1:
        raise InvalidArgument(f"--image-gc-every: {every} is no number of seconds")
    return Marks(high, low, age, every)


def fullest(paths: Iterable[str]) -> float:
    """Of the disks of these paths the one that is used most, in percent; a path that is not here counts nothing."""
    found = [0.0]
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # a manager elsewhere
            found.append(used_percent(path))
    return max(found)


def used_percent(path: str) -> float:
    """How full the disk of `path` is, for those who are not root: its reserve counts as used. Raises OSError."""
    found = os.statvfs(path)
    return 100 * (1 - found.f_bavail / found.f_blocks) if found.f_blocks else 0.0


def candidates(
    images: Iterable[Image], used: Mapping[str, int], busy: Callable[[str], bool], before: int
) -> list[Image]:
    """Those that may go, the longest unused first; `before` is the time since which an image must not have been used."""
    times = {image.id: max(used.get(image.id, 0), image.updated) for image in images}
    free = [image for image in images if times[image.id] <= before and not busy(image.id)]
    return sorted(free, key=lambda image: (times[image.id], image.id))


class Pressure:
    """`run` is its life: every so often it looks, and removes when it must."""

    def __init__(self, images: Images, database: Database, path: str, wanted: Marks) -> None:
        self._images = images
        self._database = database
        self._paths = [path]
        self._marks = wanted
        self._told = False  # that nothing more can be removed
        self._saved = {row["id"]: row["at"] for row in database.query("SELECT id, at FROM image_use")}
        images.used.update(self._saved)

    async def run(self) -> None:
        """For ever; what fails is told, and tried again."""
        while True:
            await asyncio.sleep(self._marks.every)
            try:
                await self.look()
            except (HakoError, OSError) as err:
                print(f"hakod: removing images for space: {err}", file=sys.stderr)

    async def look(self) -> list[Image]:
        """Once, now; what was removed. Raises HakoError, OSError."""
        every = await self._images.every()
        self._note(every)
        await self._find_stores()
        if fullest(self._paths) < self._marks.high:
            self._told = False
            return []
        return await self._relieve(every)

    async def _find_stores(self) -> None:
        """Where images lie: the manager's stores may be on a disk of their own, and be others' after its end."""
        with contextlib.suppress(Unimplemented):
            self._paths[1:] = await self._images.client.introspection.roots(SNAPSHOTTER)

    def _note(self, every: Sequence[Image]) -> None:
        """Put on record what is used now and what was; forget images that are gone."""
        now = time.time_ns()
        used = self._images.used
        known = {image.id for image in every}
        for identity in [identity for identity in used if identity not in known]:
            del used[identity]
        used.update({identity: now for identity in known if self._images.users(identity)})
        with self._database.transaction():
            for identity in self._saved.keys() - used.keys():
                self._database.execute("DELETE FROM image_use WHERE id = ?", (identity,))
            for identity, at in used.items():
                if self._saved.get(identity) != at:
                    self._database.execute("INSERT OR REPLACE INTO image_use VALUES (?, ?)", (identity, at))
        self._saved = dict(used)

    async def _relieve(self, every: Sequence[Image]) -> list[Image]:
        before = time.time_ns() - self._marks.age * _SECOND
        gone: list[Image] = []
        for image in candidates(every, self._images.used, self._busy, before):
            full = fullest(self._paths)
            if full <= self._marks.low:
                return gone
            async with self._images.catalogue.lock:
                if self._busy(image.id):  # since we looked
                    continue
                await take_away(self._images, await self._images.complete(image))
            name = next(iter(image.names), image.short_id)
            print(f"hakod: disk {full:.0f}% full: image {name} removed, the longest unused", file=sys.stderr)
            gone.append(image)
        if fullest(self._paths) > self._marks.low and not self._told:
            self._told = True
            print(
                f"hakod: disk {fullest(self._paths):.0f}% full, and no more images can be removed",
                file=sys.stderr,
            )
        return gone

    def _busy(self, identity: str) -> bool:
        return bool(self._images.users(identity))
