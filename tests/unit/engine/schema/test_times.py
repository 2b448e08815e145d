"""Moments as clients write them."""

from __future__ import annotations

import time

import pytest

from hakobune.engine.schema.times import bound, moment
from hakobune.errors import InvalidArgument

AT = 1_767_225_600 * 10**9  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0), ("0", 0), ("1", 10**9), ("1.5", 1_500_000_000), ("1.000000001", 10**9 + 1), ("-5", 0), ("-1.5", 0),
        ("1767225600.123456789", AT + 123_456_789), ("2026-01-01T00:00:00Z", AT), ("2026-01-01", AT),
        ("2026-01-01T00:00:00.123456789Z", AT + 123_456_789), ("2026-01-01T02:00:00+02:00", AT),
        ("2025-12-31T19:00:00.5-05:00", AT + 500_000_000), ("2026-01-01T00:00", AT), ("0001-01-01T00:00:00Z", 0),
    ],
)  # fmt: skip
def test_moments(text: str, expected: int) -> None:
    assert moment(text) == expected


@pytest.mark.parametrize(
    "text", ["x", "²", "1.x", "2026-13-01T00:00:00Z", "10m", "--1", "9" * 30, "2026-01-01T99:00:00Z"]
)
def test_no_moments(text: str) -> None:
    with pytest.raises(InvalidArgument):
        moment(text)


def test_bounds_are_moments_or_durations() -> None:
    assert bound("1.5") == 1_500_000_000
    assert abs(time.time_ns() - bound("1h30m") - 5400 * 10**9) < 10**9
    with pytest.raises(InvalidArgument):
        bound("1x")
