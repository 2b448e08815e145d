"""Docker's multiplexed stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakobune.wire import stdcopy

PARTS = st.lists(
    st.tuples(st.sampled_from(("stdout", "stderr", "stdin")), st.binary(max_size=50)), max_size=8
)


@given(PARTS, st.integers(1, 30))
def test_round_trip_in_pieces(parts: list[tuple[str, bytes]], step: int) -> None:
    raw = b"".join(stdcopy.frame(*part) for part in parts)
    decoder = stdcopy.Decoder()
    assert [p for at in range(0, len(raw), step) for p in decoder.feed(raw[at : at + step])] == parts


def test_the_bytes() -> None:
    assert stdcopy.frame("stderr", b"hi") == b"\x02\0\0\0\0\0\0\x02hi"


def test_unknown_stream() -> None:
    with pytest.raises(ValueError, match="stream 9"):
        stdcopy.Decoder().feed(b"\x09\0\0\0\0\0\0\0")
