"""ttrpc frames and envelopes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakobune.wire import ttrpc

FRAMES = st.builds(
    ttrpc.Frame,
    st.integers(0, 2**32 - 1),
    st.sampled_from((1, 2, 3)),
    st.integers(0, 255),
    st.binary(max_size=99),
)


@given(st.lists(FRAMES, max_size=5), st.integers(1, 40))
def test_frames_in_pieces(frames: list[ttrpc.Frame], step: int) -> None:
    raw = b"".join(map(ttrpc.pack, frames))
    decoder = ttrpc.Decoder()
    got = [frame for at in range(0, len(raw), step) for frame in decoder.feed(raw[at : at + step])]
    assert got == frames


def test_limits() -> None:
    with pytest.raises(ValueError, match="longer than"):
        ttrpc.pack(ttrpc.Frame(1, 1, 0, b"x" * (ttrpc.MAX_DATA + 1)))
    with pytest.raises(ValueError, match="longer than"):
        ttrpc.Decoder().feed(struct.pack("!IIBB", ttrpc.MAX_DATA + 1, 1, 1, 0))


def test_envelopes() -> None:
    request = ttrpc.Request("s.v1.S", "Do", b"payload", 5)
    assert ttrpc.unpack_request(ttrpc.pack_request(request)) == request
    for response in (ttrpc.Response(b"x"), ttrpc.Response(), ttrpc.Response(b"", 5, "no such thing")):
        assert ttrpc.unpack_response(ttrpc.pack_response(response)) == response
