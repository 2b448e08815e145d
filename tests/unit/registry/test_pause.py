"""How long a registry that has said 429 or 503 is left alone."""

from __future__ import annotations

import time

import pytest

from hakobune.registry.session import LONGEST_PAUSE, pause

FORMAT = "%a, %d %b %Y %H:%M:%S GMT"


def at(seconds: float) -> str:
    return time.strftime(FORMAT, time.gmtime(time.time() + seconds))


def test_as_the_registry_says() -> None:
    assert pause(0, "2") == 2
    assert pause(9, "0") == 0
    assert pause(0, "999999") == LONGEST_PAUSE
    assert pause(0, at(-100)) == 0
    assert 2 < pause(5, at(4)) <= 4
    assert pause(0, at(999999)) == LONGEST_PAUSE


@pytest.mark.parametrize("nothing", ["", "soon", "-1", "1.5", "Wed, 99 Nov 2026 00:00:00 GMT"])
def test_what_says_nothing(nothing: str) -> None:
    first, later = pause(0, nothing), pause(2, nothing)
    assert 0 < first < later <= LONGEST_PAUSE * 1.25
