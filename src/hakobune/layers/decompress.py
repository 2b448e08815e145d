"""Compressed bytes -> bytes in bounded chunks: gzip, bzip2, xz, zstd, or none, told apart by their magic.

A bomb unpacks chunk by chunk, so memory stays flat and the caller can stop at any limit. gzip is read by ISA-L's
igzip where that is installed, in less than half of zlib's time. zstd comes from the standard library where there is
one (Python 3.14), else from an installed package. These modules are imported when such a stream comes.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import importlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from hakobune.errors import InvalidArgument, Unimplemented

CHUNK = 256 * 1024


class Source(Protocol):
    """As much of a binary file as is needed here: 1 to `most` bytes, none at the end."""

    def read(self, most: int, /) -> bytes: ...


class Decompressor(Protocol):
    """What bz2, lzma and zstd objects of the standard library have in common."""

    @property
    def eof(self) -> bool:
        """Whether the end of one compressed stream was met."""

    @property
    def unused_data(self) -> bytes:
        """What came after it."""

    @property
    def needs_input(self) -> bool:
        """Whether more can only come out after more has gone in."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """At most `max_length` bytes."""


class _Gzip:
    """zlib's object with the interface of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max(0, max_length))


class _Zstandard:
    """The `zstandard` package's object, which has no output limit: input goes in by small pieces."""

    _PIECE = 4096

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._pending = b""

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data) + self._pending

    @property
    def needs_input(self) -> bool:
        return not self._pending

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        data = self._pending + data
        self._pending = data[self._PIECE :]
        return bytes(self._inner.decompress(data[: self._PIECE]))


@functools.cache
def _gzip_maker() -> Callable[[], Decompressor]:
    try:
        igzip = importlib.import_module("isal.igzip_lib")
    except ImportError:
        return _Gzip
    return functools.partial(igzip.IgzipDecompressor, flag=igzip.DECOMP_GZIP)


@functools.cache
def _zstd_maker() -> Callable[[], Decompressor]:
    for name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            found: Callable[[], Decompressor] = importlib.import_module(name).ZstdDecompressor
            return found
    try:
        package = importlib.import_module("zstandard")
    except ImportError:
        raise Unimplemented("zstd compression: no zstd module in this Python") from None
    return lambda: _Zstandard(package.ZstdDecompressor().decompressobj())


# The highest preset's dictionary has 64 MiB; a header may ask for 4 GiB. zstd's modules end at 128 MiB by themselves.
_XZ_MEMORY = 96 << 20

FORMATS: tuple[tuple[str, bytes, Callable[[], Decompressor]], ...] = (
    ("gzip", b"\x1f\x8b", lambda: _gzip_maker()()),
    ("bzip2", b"BZh", bz2.BZ2Decompressor),
    ("xz", b"\xfd7zXZ\x00", lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)),
    ("zstd", b"\x28\xb5\x2f\xfd", lambda: _zstd_maker()()),
)
_ERRORS = (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError)


def detect(start: bytes) -> str:
    """The name of the compression that these first bytes show; `none` else."""
    return next((name for name, magic, _ in FORMATS if start.startswith(magic)), "none")


def chunks(source: Source) -> Iterator[bytes]:
    """The decompressed content, never an empty chunk, none longer than about `CHUNK` (zstd package: 16 MiB).

    Several compressed streams in a row count as one; what follows the last is ignored, as gzip does.
    Raises InvalidArgument for damaged or cut data, Unimplemented for zstd without a module, OSError.
    """
    start = source.read(CHUNK)
    for name, magic, make in FORMATS:
        if start.startswith(magic):
            return _decompressed(source, start, name, magic, make)
    return _plain(source, start)


def _plain(source: Source, start: bytes) -> Iterator[bytes]:
    while start:
        yield start
        start = source.read(CHUNK)


def _decompressed(
    source: Source, start: bytes, name: str, magic: bytes, make: Callable[[], Decompressor]
) -> Iterator[bytes]:
    data = start
    while data.startswith(magic):
        current = make()
        while not current.eof:
            if current.needs_input and not data:
                data = source.read(CHUNK)
                if not data:
                    raise InvalidArgument(f"{name} stream ends too early")
            try:
                out = current.decompress(data, CHUNK)
            except _ERRORS as err:
                raise InvalidArgument(f"{name} stream is damaged: {err}") from err
            except Exception as err:  # the zstd modules have their own classes
                raise InvalidArgument(f"{name} stream is damaged: {err}") from err
            data = b""
            if out:
                yield out
        data = current.unused_data
        if len(data) < len(magic):
            data += source.read(CHUNK)
