"""The small protobuf codec, also against the library."""

from __future__ import annotations

import pytest
from google.protobuf import any_pb2, timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from hakobune.wire import pb

NUMBERS = st.integers(1, 2**29 - 1)


@given(NUMBERS, st.integers(0, 2**64 - 1))
def test_integers(number: int, value: int) -> None:
    assert pb.number(pb.decode(pb.field(number, value)), number) == value


@given(NUMBERS, st.text(st.characters(exclude_categories=["Cs"])))
def test_texts(number: int, value: str) -> None:
    assert pb.text(pb.decode(pb.field(number, value)), number) == value


def test_zero_values_are_left_out_but_messages_are_not() -> None:
    assert pb.field(1, 0) + pb.field(2, "") + pb.field(3, b"") + pb.field(4, False) == b""
    assert pb.decode(pb.message(5, b"")) == {5: [b""]}


def test_negative_numbers_as_the_library_writes_them() -> None:
    stamp = timestamp_pb2.Timestamp(seconds=-5, nanos=7)
    assert pb.field(1, -5) + pb.field(2, 7) == stamp.SerializeToString()


@given(st.text(st.characters(exclude_categories=["Cs"])), st.binary())
def test_against_the_library(url: str, value: bytes) -> None:
    theirs = any_pb2.Any(type_url=url, value=value)
    assert pb.field(1, url) + pb.field(2, value) == theirs.SerializeToString()
    fields = pb.decode(theirs.SerializeToString())
    assert (pb.text(fields, 1), pb.blob(fields, 2)) == (url, value)


def test_fixed_widths_and_repeated_fields() -> None:
    raw = b"\x0d\x01\x00\x00\x00" + b"\x11\x02" + b"\0" * 7 + b"\x08\x05\x08\x06"
    assert pb.decode(raw) == {1: [1, 5, 6], 2: [2]}
    assert pb.number(pb.decode(raw), 1) == 6


@pytest.mark.parametrize("raw", [b"\x08", b"\x0a\x05ab", b"\x0b", b"\x08" + b"\xff" * 11, b"\x0d\x01"])
def test_malformed(raw: bytes) -> None:
    with pytest.raises(ValueError, match="protobuf"):
        pb.decode(raw)


def test_a_field_of_another_kind_reads_as_absent() -> None:
    fields = pb.decode(pb.field(1, 5) + pb.field(2, "x"))
    assert (pb.text(fields, 1), pb.blob(fields, 1), pb.number(fields, 2)) == ("", b"", 0)
    assert (pb.text(fields, 9), pb.blob(fields, 9), pb.number(fields, 9)) == ("", b"", 0)


@given(st.binary(max_size=100))
def test_noise_raises_value_error_only(noise: bytes) -> None:
    try:
        pb.decode(noise)
    except ValueError:
        pass
