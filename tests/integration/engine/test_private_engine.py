"""The private engine of tests and demo takes everything away, also when nobody is left to do it nicely."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from hakobune.testing.engine import Leftovers, PrivateEngine
from hakobune.testing.traces import Traces

pytestmark = pytest.mark.root


def _inhabited() -> PrivateEngine:
    """An engine with a container on the default bridge, a published port, and one on a network of its own."""
    engine = PrivateEngine().start()
    for words in (
        ("run", "-d", "-p", "127.0.0.1::80", "hako/starter", "sleep", "600"),
        ("network", "create", "quay"),
        ("run", "-d", "--network", "quay", "hako/starter", "sh", "-c", "sleep 601 & sleep 602"),
    ):
        done = engine.hako(*words)
        assert done.returncode == 0, done.stderr
    return engine


def _traces(engine: PrivateEngine) -> Traces:
    """What another look finds, with all that the engine's files tell now."""
    traces = Traces(engine.root, engine.bridge)
    traces.recall()
    return traces


def test_nothing_is_left_of_an_engine_that_was_killed() -> None:
    engine = _inhabited()
    traces = _traces(engine)
    engine.kill()
    kinds = {line.split()[0] for line in traces.found()}
    assert {"process", "link", "control", "nftables"} <= kinds
    assert len(traces.links()) == 4
    engine.stop()
    assert traces.found() == []
    assert not engine.root.exists()


def test_an_engine_that_ended_by_itself_is_told_and_swept() -> None:
    engine = _inhabited()
    traces = _traces(engine)
    os.kill(engine.daemons()["hakod"], signal.SIGKILL)
    assert engine.process is not None
    engine.process.wait()
    with pytest.raises(Leftovers, match="hakod had ended by itself, with -9"):
        engine.stop()
    assert traces.found() == []
    assert not engine.root.exists()


@pytest.mark.parametrize("milliseconds", [20, 100, 300, 600])
def test_nothing_is_left_of_an_engine_that_was_half_started(milliseconds: int) -> None:
    engine = PrivateEngine()
    with subprocess.Popen(engine.command(), stderr=subprocess.DEVNULL, start_new_session=True) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(milliseconds / 1000)
        engine.stop()
    assert Traces(engine.root, engine.bridge).found() == []
    assert not engine.root.exists()
