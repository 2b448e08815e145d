"""A task asks its shim over connections that break, as long as somebody listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hakobune.containerd.tasks.task import Task
from hakobune.errors import HakoError, Unavailable
from hakobune.proto import shim_pb2 as pb


class Line:
    """A connection that answers, or breaks: with the first call, or as soon as it is made."""

    def __init__(self, hung_up: Callable[[], None], *, answers: bool, at_once: bool = False) -> None:
        self.connected = not at_once
        self._answers, self._hung_up = answers, hung_up
        if at_once:
            hung_up()

    async def call(self, method: str, request: Any, response: Any, timeout: float = 0) -> Any:
        await asyncio.sleep(0)
        if not self._answers:
            self.connected = False
            self._hung_up()
            raise Unavailable("broke")
        return response(pid=7)

    def close(self) -> None:
        self.connected = False


class Place:
    """A bundle and its maker, as far as a task that is lost looks at them."""

    namespace, id = "test", "one"

    async def end(self, _bundle: object) -> tuple[int, int]:
        return 137, 1

    def pid(self) -> int:
        return 7


class Asked(Task):
    """Makes the connections of a list, one after the other; behind them nobody listens."""

    def __init__(self, *lines: dict[str, bool]) -> None:
        place: Any = Place()
        super().__init__(place, place, lambda *_: None)
        self._lines = list(lines)

    async def connect(self) -> None:
        for _ in range(5):  # it takes a moment
            await asyncio.sleep(0)
        if not self._lines:
            raise Unavailable("nobody listens")
        made: Any = Line(self._hung_up, **self._lines.pop(0))
        self._shim = made


def ask(*lines: dict[str, bool]) -> tuple[int, Task]:
    async def body() -> tuple[int, Task]:
        task = Asked(*lines)
        await task.connect()
        found = await task.ask("State", pb.StateRequest(), pb.StateResponse)
        await asyncio.sleep(0)
        return found.pid, task

    return asyncio.run(asyncio.wait_for(body(), 10))


def test_one_that_breaks_while_it_is_made_again() -> None:
    broken = {"answers": False, "at_once": True}
    pid, task = ask({"answers": False}, broken, broken, {"answers": False}, {"answers": True})
    assert pid == 7
    assert task.end is None


def test_nobody_listens() -> None:
    with pytest.raises(HakoError, match="broke"):
        ask({"answers": False}, {"answers": False})
