"""One piece in each pass of the loop."""

from __future__ import annotations

import asyncio

from hakobune.engine.turns import Turns


def test_others_come_in_between() -> None:
    seen: list[str] = []

    async def piece(turns: Turns, name: str) -> None:
        await turns.take()
        seen.append(name)

    async def passes() -> None:
        while len(seen) < 7:
            seen.append("-")
            await asyncio.sleep(0)

    async def run() -> None:
        turns = Turns()
        await asyncio.gather(*(piece(turns, name) for name in "abc"), passes())

    asyncio.run(run())
    text = "".join(seen).strip("-")
    assert text.replace("-", "") == "abc"
    assert all(pair not in text for pair in ("ab", "bc"))


def test_a_cancelled_one_is_passed_over() -> None:
    async def run() -> None:
        turns = Turns()
        first, second = (asyncio.create_task(turns.take()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        async with asyncio.timeout(5):
            await second
            await turns.take()
        assert first.cancelled()

    asyncio.run(run())
