"""A private manager for each module, and one event loop with a client."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from hakobune.containerd.client import Client
from hakobune.testing.containerd import RealContainerd
from hakobune.testing.manager import PrivateManager
from hakobune.testing.manager import run as loop
from hakobune.testing.peers import built
from hakobune.testing.recipes import starter_layer

Run = Callable[[Callable[[Client], Coroutine[Any, Any, Any]]], Any]


@pytest.fixture(scope="module")
def manager() -> Iterator[PrivateManager]:
    """Running, with the starter layer as the snapshot `starter`."""
    made = PrivateManager()
    made.start()
    try:

        async def fill() -> None:
            client = await made.client()
            await starter_layer(client)
            await client.close()

        loop(fill())
        yield made
    finally:
        made.end()


@pytest.fixture
def empty_manager() -> Iterator[PrivateManager]:
    """Running, for one test, with nothing in it."""
    made = PrivateManager()
    made.start()
    yield made
    made.end()


@pytest.fixture
def run(manager: PrivateManager) -> Run:
    """`run(async function of a client)`: its value, after at most a minute."""

    def runner(work: Callable[[Client], Coroutine[Any, Any, Any]]) -> Any:
        async def body() -> Any:
            client = await manager.client()
            try:
                return await work(client)
            finally:
                await client.close()

        return loop(body())

    return runner


@pytest.fixture(scope="module", params=["ours", "Debian's containerd", "current containerd"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a manager: ours, or the real containerd of both kinds."""
    if request.param == "ours":
        made = PrivateManager()
        made.start()
        yield made.address
        made.end()
        return
    program = "/usr/bin/containerd" if "Debian" in request.param else built("containerd")
    if not program or not os.path.exists(program):
        pytest.skip(f"peer not installed: {request.param}")
    with RealContainerd(program) as real:
        yield real.address
