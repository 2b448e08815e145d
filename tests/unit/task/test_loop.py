"""The shim's loop: watchers, timers, children, and bugs behind them."""

from __future__ import annotations

import os
import signal

import pytest

from hakobune.task import loop as loops
from hakobune.task.loop import IN, Loop


def test_watch_and_unwatch(loop: Loop) -> None:
    reading, writing = os.pipe()
    got = []

    def ready(events: int) -> None:
        got.append((os.read(reading, 10), events))
        loop.unwatch(reading)
        loop.unwatch(reading)
        loop.stop()

    loop.watch(reading, IN, lambda _events: pytest.fail("was replaced"))
    loop.watch(reading, IN, ready)
    os.write(writing, b"x")
    loop.run()
    assert got == [(b"x", IN)]
    os.close(reading)
    os.close(writing)


def test_timers_in_order_and_cancelled(loop: Loop) -> None:
    ran: list[str] = []
    loop.later(0.02, lambda: (ran.append("second"), loop.stop()))  # type: ignore[func-returns-value]
    loop.later(0.01, lambda: ran.append("first"))
    loop.later(0.001, lambda: ran.append("never")).cancel()
    loop.run()
    assert ran == ["first", "second"]


def test_children_and_signals(loop: Loop) -> None:
    seen = []
    loop.on_child = lambda: seen.append(os.waitpid(-1, os.WNOHANG)[0])
    loop.on_terminate = loop.stop
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    loop.later(1.0, lambda: os.kill(os.getpid(), signal.SIGTERM))
    loop.run()
    assert seen == [pid]


def test_a_bug_does_not_end_the_loop(loop: Loop, capfd: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()

    def bug(*_: object) -> None:
        raise RuntimeError("bug")

    calls: list[int] = []

    def child_ended() -> None:
        os.kill(os.getpid(), signal.SIGCHLD)

    def on_child() -> None:
        calls.append(1)
        loop.later(0.01, child_ended if len(calls) < 2 else loop.stop)
        bug()

    loop.on_child = on_child
    loop.watch(reading, IN, bug)
    os.write(writing, b"x")
    loop.later(0.001, bug)
    loop.later(0.01, child_ended)
    loop.later(10, loop.stop)
    loop.run()
    assert len(calls) == 2  # the signals are still heard after the first bug
    text = capfd.readouterr().err
    assert text.count("RuntimeError: bug") == 4
    os.close(reading)
    os.close(writing)


def test_a_reused_number_does_not_get_older_events(loop: Loop) -> None:
    """Both pipes are ready; the first watcher closes the second and opens another under its number."""
    pipes = [os.pipe() for _ in range(2)]
    stale: list[str] = []

    def replace(index: int) -> None:
        other = pipes[1 - index]
        loop.unwatch(pipes[index][0])
        loop.unwatch(other[0])
        os.close(other[0])
        fresh = os.pipe()
        assert fresh[0] == other[0]
        loop.watch(fresh[0], IN, lambda _events: stale.append("stale"))
        pipes.append((pipes[index][0], fresh[1]))
        loop.later(0.01, loop.stop)

    for index in (0, 1):
        loop.watch(pipes[index][0], IN, lambda _events, index=index: replace(index))  # type: ignore[misc]
        os.write(pipes[index][1], b"x")
    loop.run()
    assert stale == []


def test_complain_names_the_place(capfd: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("why")
    except ValueError as err:
        loops.complain("somewhere", err)
    assert "shim: somewhere: ValueError: why at " in capfd.readouterr().err
