"""A restart by the policy that the engine's own end interrupts is the next engine's to make."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from hakobune.engine.containers import exits, start


def test_an_engine_ends_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[tuple[str, int]] = []
    begun = asyncio.Event()

    async def launch(_deps: Any, container: Any) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except BaseException:
            container.state.status = "exited"  # as start.launch leaves a start that was cut
            raise

    async def body() -> None:
        container: Any = SimpleNamespace(
            backoff=0, lock=asyncio.Lock(), removed=False, restart_count=4, restart=None,
            state=SimpleNamespace(status="restarting", exit_code=1),
        )  # fmt: skip
        store = SimpleNamespace(save_at_last=lambda one: saved.append((one.state.status, one.restart_count)))
        monkeypatch.setattr(start, "launch", launch)
        task = asyncio.create_task(exits._restart(SimpleNamespace(store=store), container))  # type: ignore[arg-type]
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(body())
    assert saved == [("restarting", 4)]
