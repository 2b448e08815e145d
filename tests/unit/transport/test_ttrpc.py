"""The ttrpc client and server over a real socket, against each other and against misbehaviour."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from hakobune.errors import (
    DeadlineExceeded,
    HakoError,
    Internal,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)
from hakobune.transport.ttrpc_client import TtrpcClient
from hakobune.transport.ttrpc_server import TtrpcServer
from hakobune.wire import ttrpc


def echo(call: ttrpc.Request) -> bytes:
    return call.payload


def refuse(_call: ttrpc.Request) -> bytes:
    raise NotFound("no such thing")


def break_down(_call: ttrpc.Request) -> bytes:
    raise ZeroDivisionError("oh")


async def served(path: Path) -> tuple[TtrpcServer, TtrpcClient]:
    server = TtrpcServer({"s/Echo": echo, "s/Refuse": refuse, "s/Break": break_down})
    await server.listen(str(path))
    return server, await TtrpcClient.connect(str(path))


def test_calls_and_errors(tmp_path: Path) -> None:
    async def body() -> None:
        server, client = await served(tmp_path / "s")
        assert await asyncio.gather(*(client.call("s", "Echo", b"%d" % n) for n in range(50))) == [
            b"%d" % n for n in range(50)
        ]
        with pytest.raises(NotFound, match=r"^no such thing$"):
            await client.call("s", "Refuse", b"")
        with pytest.raises(Unimplemented, match="s/Other is not served"):
            await client.call("s", "Other", b"")
        with pytest.raises(Internal, match="ZeroDivisionError"):
            await client.call("s", "Break", b"")
        with pytest.raises(InvalidArgument):
            await client.call("s", "Echo", bytes(ttrpc.MAX_DATA))
        big = bytes(1 << 20)
        assert await client.call("s", "Echo", big) == big
        client.close()
        with pytest.raises(Unavailable):
            await client.call("s", "Echo", b"")
        await server.close()

    asyncio.run(asyncio.wait_for(body(), 20))


def test_a_lost_connection_fails_what_waits_and_tells_once(tmp_path: Path) -> None:
    async def body() -> None:
        lost: list[int] = []
        hung: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        server = await asyncio.start_unix_server(lambda _r, w: hung.put(w), str(tmp_path / "s"))
        client = await TtrpcClient.connect(str(tmp_path / "s"), lambda: lost.append(1))
        with pytest.raises(DeadlineExceeded):
            await client.call("s", "Slow", b"", timeout=0.05)
        waiting = asyncio.ensure_future(client.call("s", "Never", b""))
        writer = await hung.get()
        await asyncio.sleep(0.01)
        writer.close()
        with pytest.raises(Unavailable):
            await waiting
        assert lost == [1]
        assert not client.connected
        server.close()

    asyncio.run(asyncio.wait_for(body(), 20))


def test_garbage_ends_the_connection(tmp_path: Path) -> None:
    async def body() -> None:
        server, client = await served(tmp_path / "s")
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(b"\xff" * 64)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        assert await client.call("s", "Echo", b"still") == b"still"
        client.close()
        await server.close()

    asyncio.run(asyncio.wait_for(body(), 20))


def test_nobody_listens(tmp_path: Path) -> None:
    async def body() -> None:
        with pytest.raises(HakoError, match="ttrpc socket"):
            await TtrpcClient.connect(str(tmp_path / "nobody"))

    asyncio.run(body())


def test_handlers_that_wait(tmp_path: Path) -> None:
    """They begin when the server is open, do not hold up others, end though their caller is gone, and are settled."""

    async def body() -> None:
        go, done = asyncio.Event(), []

        async def slow(call: ttrpc.Request) -> bytes:
            await go.wait()
            done.append(call.payload)
            return dict(call.metadata)["who"].encode()

        async def refused(_call: ttrpc.Request) -> bytes:
            raise NotFound("no such thing")

        server = TtrpcServer({"s/Slow": slow, "s/Echo": echo, "s/Refuse": refused})
        await server.listen(str(tmp_path / "s"))
        client, other = [await TtrpcClient.connect(str(tmp_path / "s")) for _ in range(2)]
        waiting = asyncio.ensure_future(client.call("s", "Slow", b"1", metadata=(("who", "me"), ("x", "y"))))
        await other.call("s", "Echo", b"")
        go.set()
        assert await client.call("s", "Echo", b"quick") == b"quick"
        assert done == []  # not open yet
        server.open()
        assert await waiting == b"me"
        with pytest.raises(NotFound, match=r"^no such thing$"):
            await client.call("s", "Refuse", b"")
        go.clear()
        left = asyncio.ensure_future(other.call("s", "Slow", b"2", metadata=(("who", "me"),)))
        await asyncio.sleep(0.05)
        other.close()
        settled = asyncio.ensure_future(server.settle(10))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="the server ends"):
            await client.call("s", "Slow", b"3", metadata=(("who", "me"),))
        go.set()
        await settled
        assert done == [b"1", b"2"]
        with pytest.raises(Unavailable):
            await left
        client.close()
        await server.close()

    asyncio.run(asyncio.wait_for(body(), 20))
