"""Durations in Go's spelling."""

from __future__ import annotations

import pytest

from hakobune.spec.duration import nanoseconds


@pytest.mark.parametrize(
    ("text", "is_"),
    [("1h2m3.5s", 3_723_500_000_000), ("0", 0), (".5ms", 500_000), ("1.us", 1_000),
     *((text, None) for text in ("", "1", "h", "1h ", "1x", "-1s"))],
)  # fmt: skip
def test_nanoseconds(text: str, is_: int | None) -> None:
    assert nanoseconds(text) == is_
