"""Verbs that meet an end which the engine has not heard of yet."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from hakobune.engine.containers import change
from hakobune.errors import Conflict, NotFound


@pytest.mark.parametrize(
    ("verb", "status"), [(change.pause, "running"), (change.unpause, "paused")], ids=["pause", "unpause"]
)
def test_the_process_has_ended(verb: Any, status: str) -> None:
    async def gone(_identity: str) -> None:
        raise NotFound("process already finished")

    async def body() -> None:
        deps: Any = SimpleNamespace(runtime=SimpleNamespace(pause=gone, resume=gone))
        container: Any = SimpleNamespace(id="one", lock=asyncio.Lock(), state=SimpleNamespace(status=status))
        with pytest.raises(Conflict, match=r"^container one is not running$"):
            await verb(deps, container)
        assert container.state.status == status

    asyncio.run(body())
