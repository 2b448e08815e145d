"""gzip (RFC 1952) written by several threads: pieces of a megabyte, each deflated by itself, put together in their order.

A piece ends with a sync flush, so that all of them are one deflate stream (RFC 1951) in one gzip member, which every
reader knows. ISA-L does it where it is installed: six times as fast as zlib, and a tenth larger. With zlib what does
not compress is stored as it is: a sample of each piece tells. The same bytes for the same input on one machine.
Both let go of the interpreter while they work. Imports: zlib, isal, concurrent.futures.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from hakobune.layers.members import Out

_PIECE = 1 << 20
_SAMPLE = 1 << 14
_WORTH = 0.95  # a sample that stays larger than that is not worth the time
_LEVEL = 4  # three times as fast as 9, for a layer that is a tenth larger
_isal: Any = None
with contextlib.suppress(ImportError):
    _isal = importlib.import_module("isal.isal_zlib")
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # no name, no time, from an unknown system


class Gzip:
    """`write` and then `close`."""

    def __init__(self, out: Out, threads: int = 0) -> None:
        self._out = out
        self._threads = threads or min(os.cpu_count() or 1, 8)
        self._pool = ThreadPoolExecutor(self._threads)
        self._buffer = bytearray()
        self._working: deque[Future[bytes]] = deque()
        self._check = self._size = 0
        out.write(_HEADER)

    def write(self, data: bytes) -> int:
        """Any number of bytes; blocks while all threads are busy. Raises what `out` raises."""
        self._buffer += data
        while len(self._buffer) >= _PIECE:
            piece = bytes(self._buffer[:_PIECE])
            del self._buffer[:_PIECE]
            self._give(piece)
        return len(data)

    def _give(self, piece: bytes) -> None:
        self._check = zlib.crc32(piece, self._check)
        self._size += len(piece)
        self._working.append(self._pool.submit(deflate, piece))
        while len(self._working) > 2 * self._threads:
            self._out.write(self._working.popleft().result())

    def close(self) -> None:
        """The rest, and the end."""
        if self._buffer:
            self._give(bytes(self._buffer))
        while self._working:
            self._out.write(self._working.popleft().result())
        self._pool.shutdown()
        end = zlib.compressobj(0, zlib.DEFLATED, -zlib.MAX_WBITS).flush(zlib.Z_FINISH)
        size = self._size & 0xFFFFFFFF
        self._out.write(end + self._check.to_bytes(4, "little") + size.to_bytes(4, "little"))


def deflate(piece: bytes) -> bytes:
    """A piece of a deflate stream, whole bytes, not the last one."""
    if _isal is None:
        return deflate_by_zlib(piece)
    made = _isal.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    done: bytes = made.compress(piece) + made.flush(zlib.Z_SYNC_FLUSH)
    return done


def deflate_by_zlib(piece: bytes) -> bytes:
    """As `deflate`, where there is no ISA-L."""
    sample = piece[:_SAMPLE]
    level = _LEVEL if len(zlib.compress(sample, 1)) < _WORTH * len(sample) else 0
    made = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return made.compress(piece) + made.flush(zlib.Z_SYNC_FLUSH)
