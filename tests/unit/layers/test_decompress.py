"""Every compression by its magic, cut and damaged streams, bombs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable

import pytest

from hakobune.errors import InvalidArgument
from hakobune.layers import decompress

CONTENT = bytes(range(256)) * 3000
PACKERS: list[Callable[[bytes], bytes]] = [gzip.compress, bz2.compress, lzma.compress]


def unpack(data: bytes) -> bytes:
    return b"".join(decompress.chunks(io.BytesIO(data)))


@pytest.mark.parametrize("pack", PACKERS)
def test_round_trip(pack: Callable[[bytes], bytes]) -> None:
    assert unpack(pack(CONTENT)) == CONTENT


@pytest.mark.parametrize("pack", PACKERS)
def test_several_streams_are_one_and_garbage_behind_is_left(pack: Callable[[bytes], bytes]) -> None:
    assert unpack(pack(CONTENT) + pack(b"more") + b"\0\0junk") == CONTENT + b"more"


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
    assert [decompress.detect(pack(b"x")) for pack in PACKERS] == ["gzip", "bzip2", "xz"]
    assert decompress.detect(b"\x28\xb5\x2f\xfd") == "zstd"
    assert decompress.detect(b"tar") == "none"
