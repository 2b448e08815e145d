"""The side socket's codec."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakobune.wire import side


@given(st.integers(0, 255), st.integers(0, 2**32 - 1), st.lists(st.binary(max_size=300), max_size=6))
def test_round_trip(kind: int, seq: int, fields: list[bytes]) -> None:
    assert side.unpack(side.pack(kind, seq, *fields)) == (kind, seq, fields)


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=4), st.data())
def test_a_cut_packet_is_refused(fields: list[bytes], data: st.DataObject) -> None:
    packet = side.pack(side.ATTACH, 7, *fields)
    ends = {5}
    for field in fields:
        ends.add(max(ends) + 4 + len(field))
    cut = data.draw(st.integers(0, len(packet) - 1))
    if cut in ends:
        assert len(side.unpack(packet[:cut])[2]) < len(fields)
    else:
        with pytest.raises(ValueError, match="side packet"):
            side.unpack(packet[:cut])


def test_too_long() -> None:
    with pytest.raises(ValueError, match="longer than"):
        side.pack(side.LOGS, 1, b"x" * side.MAX_PACKET)


@given(st.binary(max_size=200))
def test_noise_raises_value_error_only(noise: bytes) -> None:
    try:
        side.unpack(noise)
    except ValueError:
        pass
