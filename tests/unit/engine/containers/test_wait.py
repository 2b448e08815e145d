"""A wait that is handed over while the shim ends, is killed, or has just been released: exactly one answer, with one head."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hakobune.engine.containers import exits, wait
from hakobune.engine.http.message import Query, Request, Taken
from hakobune.errors import NotFound, Unavailable

ANSWER = wait.HEAD + b'13\r\n{"StatusCode":137}\n\r\n0\r\n\r\n'
Moment = Callable[["Stage"], Awaitable[None]]


class Stage:
    """A running container, its shim's side socket, and a client."""

    def __init__(self, during: Moment) -> None:
        self.client, self.ours = socket.socketpair()
        self.client.setblocking(False)
        self.ours.setblocking(False)
        self.during = during
        self.killed = False
        self.held: list[socket.socket] = []  # what the shim has
        state = SimpleNamespace(running=True, exit_code=137)
        self.container: Any = SimpleNamespace(
            side=self, state=state, removed=False, waiters=[], lent=[], ended=asyncio.Event()
        )

    # the shim's side

    async def wait(self, _condition: str, head: bytes, client: socket.socket) -> None:
        assert head == b""
        await self.during(self)
        self.held.append(client.dup())

    async def reclaim(self) -> list[socket.socket]:
        self._alive()
        return []

    async def release(self, *, status: int) -> None:
        self._alive()
        for client in self.held:
            client.send(ANSWER[len(wait.HEAD) :])
            client.close()
        self.held = []

    def _alive(self) -> None:
        if self.killed:
            raise Unavailable("the shim is gone")

    def close(self) -> None: ...

    # the engine's

    async def end(self) -> None:
        self.container.state.running = False
        await exits._release(self.container, 0)
        self.container.ended.set()

    async def answer(self) -> bytes:
        connection = SimpleNamespace(take=lambda: Taken(self.ours, b""))
        request = Request("POST", "/x", Query("condition=next-exit"), {}, (1, 50), cast("Any", connection))
        await wait.wait(cast("Any", None), self.container, request)
        if self.container.state.running:
            await self.end()
        for client in self.held:  # of a shim that was killed
            client.close()
        found = b""
        with self.client:
            self.client.setblocking(True)
            self.client.settimeout(2)
            while part := self.client.recv(4096):
                found += part
        return found


async def nothing(_stage: Stage) -> None: ...


async def killed(stage: Stage) -> None:
    stage.killed = True
    raise Unavailable("the shim is gone")


async def killed_and_buried(stage: Stage) -> None:
    stage.killed = True
    await stage.end()
    raise Unavailable("the shim is gone")


async def had_it_and_was_buried(stage: Stage) -> None:
    """Its OK was on the way when it was killed."""
    stage.killed = True
    await stage.end()


async def refused_and_released(stage: Stage) -> None:
    await stage.end()
    raise NotFound("the task has ended")


@pytest.mark.parametrize(
    "during",
    [nothing, killed, killed_and_buried, had_it_and_was_buried, refused_and_released],
    ids=lambda moment: moment.__name__,
)
def test_one_answer(during: Moment) -> None:
    async def body() -> bytes:
        stage = Stage(during)
        ending = asyncio.create_task(asyncio.sleep(0))
        if during in (killed,):  # the end is told a little later
            ending = asyncio.create_task(later(stage))
        found = await stage.answer()
        await ending
        return found

    async def later(stage: Stage) -> None:
        await asyncio.sleep(0.02)
        await stage.end()

    assert asyncio.run(asyncio.wait_for(body(), 10)) == ANSWER


def test_killed_after_it_has_said_that_it_has_the_connection() -> None:
    async def body() -> bytes:
        stage = Stage(nothing)

        async def end() -> None:
            stage.killed = True
            await Stage.end(stage)

        stage.end = end  # type: ignore[method-assign]
        return await stage.answer()

    assert asyncio.run(asyncio.wait_for(body(), 10)) == ANSWER
