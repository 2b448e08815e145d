"""A thread that reads what arrives on the loop: the same bytes, no end before the end, and no thread that stays."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from hakobune.containerd.transfer.arriving import Arriving
from hakobune.errors import Unavailable


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("arriving")]


def gone() -> bool:
    for one in threading.enumerate():
        if one.name.startswith("arriving"):
            one.join(5)
    return not threads()


async def parts(*data: bytes) -> AsyncIterator[bytes]:
    for one in data:
        await asyncio.sleep(0)
        yield one


def everything(source: Arriving) -> list[bytes]:
    found = []
    while data := source.read(3):
        found.append(data)
    return found


def test_as_it_came_in_pieces_of_the_asked_size() -> None:
    async def main() -> list[bytes]:
        async with Arriving(parts(b"abcde", b"", b"f", b"ghi")) as source:
            return await source.work(lambda: everything(source))

    assert asyncio.run(main()) == [b"abc", b"de", b"f", b"ghi"]
    assert gone()


def test_what_is_left_is_taken() -> None:
    taken = []

    async def counted() -> AsyncIterator[bytes]:
        for one in (b"a", b"b", b"c"):
            taken.append(one)
            yield one

    async def main() -> bytes:
        async with Arriving(counted()) as source:
            first = await source.work(lambda: source.read(1))
            await source.rest()
            return first

    assert asyncio.run(main()) == b"a"
    assert taken == [b"a", b"b", b"c"]


def test_the_senders_failure_is_the_readers() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"a"
        raise Unavailable("the client has gone")

    async def main() -> None:
        async with Arriving(failing()) as source:
            await source.work(lambda: everything(source))

    with pytest.raises(Unavailable, match="the client has gone"):
        asyncio.run(main())
    assert gone()


def test_cancelled_while_nothing_comes() -> None:
    """Neither the loop nor the interpreter waits for the thread."""

    async def main() -> None:
        asked = asyncio.Event()

        async def silent() -> AsyncIterator[bytes]:
            asked.set()
            await asyncio.Event().wait()
            yield b""

        async def read() -> None:
            async with Arriving(silent()) as source:
                await source.work(lambda: everything(source))

        reading = asyncio.create_task(read())
        await asked.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await asyncio.to_thread(gone)

    asyncio.run(asyncio.wait_for(main(), 5))
    assert not threads()
