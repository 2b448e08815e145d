"""Brief calls: over ttrpc where the manager serves them there, over gRPC elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hakobune.containerd.client.lane import Lane
from hakobune.errors import NotFound
from hakobune.transport.ttrpc_server import TtrpcServer
from hakobune.wire import ttrpc


def tell(call: ttrpc.Request) -> bytes:
    if call.payload == b"?":
        raise NotFound("no such thing")
    return " ".join("=".join(pair) for pair in call.metadata).encode()


async def served(path: Path, *methods: str) -> TtrpcServer:
    server = TtrpcServer({f"s/{method}": tell for method in methods})
    await server.listen(str(path))
    return server


def test_what_is_served_here_is_asked_here(tmp_path: Path) -> None:
    async def body() -> None:
        lane = Lane(str(tmp_path / "s"), "moby")
        assert await lane.call("s", "One", b"", "") is None  # nobody listens: gRPC will say so
        server = await served(tmp_path / "s", "One")
        assert await lane.call("s", "One", b"", "") == b"containerd-namespace-ttrpc=moby"
        assert await lane.call("s", "One", b"", "l") == b"containerd-namespace-ttrpc=moby containerd-lease=l"
        with pytest.raises(NotFound, match=r"^no such thing$"):
            await lane.call("s", "One", b"?", "")
        assert await lane.call("s", "Two", b"", "") is None
        assert await lane.call("s", "One", bytes(3 << 20), "") is None
        await server.close()
        server = await served(tmp_path / "s", "One", "Two")  # a newer manager
        await asyncio.sleep(0.05)  # the older one's end has to be seen
        assert await lane.call("s", "Two", b"", "") == b"containerd-namespace-ttrpc=moby"
        lane.close()
        assert await lane.call("s", "Two", b"", "") is None
        await server.close()

    asyncio.run(asyncio.wait_for(body(), 20))
