"""Every compression by its magic, cut and damaged streams, bombs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hakobune.errors import InvalidArgument
from hakobune.layers import decompress

CONTENT = bytes(range(256)) * 3000
zstd: Any = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def pack_zstd(data: bytes) -> bytes:
    """With a checksum, which others may leave out: then it is the layer's digest that tells of damage."""
    packed: bytes = zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})
    return packed


PACKERS: list[Callable[[bytes], bytes]] = [gzip.compress, bz2.compress, lzma.compress, pack_zstd]


@pytest.fixture(params=["isal", "zlib"], autouse=True)
def gzip_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both readers of gzip, whichever is installed."""
    decompress._gzip_maker.cache_clear()
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal.igzip_lib", None)
    else:
        pytest.importorskip("isal.igzip_lib")
    yield
    decompress._gzip_maker.cache_clear()


def unpack(data: bytes) -> bytes:
    return b"".join(decompress.chunks(io.BytesIO(data)))


@pytest.mark.parametrize("pack", PACKERS)
def test_round_trip(pack: Callable[[bytes], bytes]) -> None:
    assert unpack(pack(CONTENT)) == CONTENT


@pytest.mark.parametrize("pack", PACKERS)
def test_several_streams_are_one_and_garbage_behind_is_left(pack: Callable[[bytes], bytes]) -> None:
    assert unpack(pack(CONTENT) + pack(b"more") + b"\0\0junk") == CONTENT + b"more"


def test_zstd_chunked_is_plain_zstd() -> None:
    """A frame for each file, and a table of contents in frames that readers skip (RFC 8878, 3.1.2) behind them."""
    table = pack_zstd(b'{"version":1,"entries":[]}')
    skipped = struct.pack("<II", 0x184D2A50, len(table)) + table
    footer = struct.pack("<II", 0x184D2A50, 64) + bytes(56) + b"GNUlInUx"
    assert (
        unpack(pack_zstd(CONTENT) + pack_zstd(b"") + pack_zstd(b"more") + skipped + footer)
        == CONTENT + b"more"
    )


@pytest.mark.parametrize("data", [b"", b"plain text", CONTENT])
def test_plain(data: bytes) -> None:
    assert unpack(data) == data


@pytest.mark.parametrize("pack", PACKERS)
def test_cut(pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InvalidArgument, match="too early"):
        unpack(pack(CONTENT)[:-20])


@pytest.mark.parametrize("pack", PACKERS)
def test_damaged(pack: Callable[[bytes], bytes]) -> None:
    data = bytearray(pack(CONTENT))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(InvalidArgument):
        unpack(bytes(data))


@pytest.mark.parametrize("pack", PACKERS)
def test_a_bomb_comes_in_small_chunks(pack: Callable[[bytes], bytes]) -> None:
    longest = max(len(chunk) for chunk in decompress.chunks(io.BytesIO(pack(bytes(64 << 20)))))
    assert longest <= decompress.CHUNK


def test_detect() -> None:
    assert [decompress.detect(pack(b"x")) for pack in PACKERS] == ["gzip", "bzip2", "xz", "zstd"]
    assert decompress.detect(b"tar") == "none"
