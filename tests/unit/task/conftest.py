"""A loop of the test's own, whose signal handlers go with it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from hakobune.task.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    before = {number: signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)}
    made = Loop()
    yield made
    made.close()
    for number, handler in before.items():
        signal.signal(number, handler)
