"""Descriptors that travel beside a document: in the document stands their place in the list.

A shim's state goes to another process as JSON and descriptors (shim/handover.py). Every object packs itself as a
dictionary and is made again from it; what a dictionary does not say keeps its default, and what it says beyond
what is known is left alone, so that two releases understand each other. Imports: nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Packed = dict[str, Any]
NONE = -1  # the place of a descriptor that is not there


class Luggage:
    """The descriptors of one hand-over, each once. Owns none of them."""

    def __init__(self, fds: Sequence[int] = ()) -> None:
        self.fds = list(fds)

    def pack(self, fd: int) -> int:
        """The place of `fd`, NONE for a negative one."""
        if fd < 0:
            return NONE
        if fd not in self.fds:
            self.fds.append(fd)
        return self.fds.index(fd)

    def take(self, place: int) -> int:
        """The descriptor at a place; -1 for NONE. Raises ValueError for a place that is not there."""
        if place >= len(self.fds):
            raise ValueError(f"descriptor {place} did not come along: there are {len(self.fds)}")
        return self.fds[place] if place >= 0 else -1


def text(data: bytes) -> str:
    """Bytes as JSON can hold them."""
    return data.decode("latin-1")


def data(packed: str) -> bytes:
    """The inverse of `text`."""
    return packed.encode("latin-1")
