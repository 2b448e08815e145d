"""Chunks out of another thread: in order, few at a time, with the failure in its place, and none left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from hakobune.layers.ahead import DEPTH, ahead


def threads() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


def test_the_same_in_order() -> None:
    assert list(ahead(b"%d" % number for number in range(100))) == [b"%d" % number for number in range(100)]
    assert threads() == 0


def test_a_failure_comes_in_its_turn() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one"
        raise ValueError("damaged")

    reading = ahead(chunks())
    assert next(reading) == b"one"
    with pytest.raises(ValueError, match="damaged"):
        next(reading)
    assert threads() == 0


def test_it_does_not_run_away() -> None:
    made: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(1000):
            made.append(number)
            yield b"x"

    reading = ahead(chunks())
    next(reading)
    time.sleep(0.1)
    assert len(made) <= DEPTH + 2
    reading.close()
    assert threads() == 0
    assert len(made) < 1000
