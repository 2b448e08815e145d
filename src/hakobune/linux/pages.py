"""The pages that a fork writes first: learnt from one fork, and copied ahead in a later one that has to wait anyway.

A page that a fork writes for the first time costs 2 microseconds, whoever asks for it, and a fork of a Python program
writes hundreds: reference counts are everywhere. Sources: Documentation/admin-guide/mm/pagemap.rst, man 2 madvise
(MADV_POPULATE_WRITE), man 2 process_madvise. Imports: mmap, os, linux.syscalls.
"""

from __future__ import annotations

import array
import mmap
import os
import struct
from collections.abc import Callable, Iterator

from hakobune.linux import syscalls

PAGE = mmap.PAGESIZE
_ROOM = 64 * 1024  # bytes for the list: 4,095 runs of pages
_COUNT = struct.Struct("=Q8x")
_RUN = struct.Struct("=QQ")  # struct iovec: address, length
_PRESENT, _EXCLUSIVE, _OF_A_FILE = 1 << 63, 1 << 56, 1 << 61


class WrittenPages:
    """What forks of this process write, in memory that all of them share; made before the first of them."""

    def __init__(self) -> None:
        self._list = mmap.mmap(-1, _ROOM)
        self._regions = list(_regions())

    @property
    def known(self) -> bool:
        """Whether somebody has learnt."""
        return self._list[0 : _COUNT.size] != bytes(_COUNT.size)

    def learn(self) -> None:
        """In a fork: the pages that are its own by now are the list, if there is none yet. Raises OSError."""
        self.learner()()

    def learner(self) -> Callable[[], None]:
        """In a fork that is going to lose sight of its /proc: what does it later. Raises OSError."""
        if self.known:
            return lambda: None
        pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        return lambda: self._learn(pagemap)

    def _learn(self, pagemap: int) -> None:
        runs = list(_runs(self._regions, pagemap))[: (_ROOM - _COUNT.size) // _RUN.size]
        os.close(pagemap)
        for place, run in enumerate(runs):
            _RUN.pack_into(self._list, _COUNT.size + place * _RUN.size, *run)
        _COUNT.pack_into(self._list, 0, len(runs))

    def copy_ahead(self) -> None:
        """In a fork: have them now. Where the kernel does not do that (before Linux 6.13) nothing happens."""
        count = _COUNT.unpack_from(self._list)[0]
        if count:
            syscalls.populate(self._list, _COUNT.size, count)


def _regions() -> Iterator[tuple[int, int]]:
    """Private writable memory of this process: (start, end)."""
    with open("/proc/self/maps") as file:
        for line in file:
            place, access = line.split(None, 2)[:2]
            if access[:2] == "rw" and access[3] == "p":
                start, _, end = place.partition("-")
                yield int(start, 16), int(end, 16)


def _runs(regions: list[tuple[int, int]], pagemap: int) -> Iterator[tuple[int, int]]:
    """Pages that nobody shares with us: (address, bytes) of each run of them."""
    for start, end in regions:
        entries = array.array("Q")
        entries.frombytes(
            os.pread(pagemap, (end - start) // PAGE * entries.itemsize, start // PAGE * entries.itemsize)
        )
        yield from _grouped(start, entries)


def _grouped(start: int, entries: array.array[int]) -> Iterator[tuple[int, int]]:
    first = -1
    for place, entry in enumerate((*entries, 0)):
        own = entry & _PRESENT and entry & _EXCLUSIVE and not entry & _OF_A_FILE
        if own and first < 0:
            first = place
        elif not own and first >= 0:
            yield start + first * PAGE, (place - first) * PAGE
            first = -1
