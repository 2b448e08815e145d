"""A connection that its owner has closed while somebody still wants something of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hakobune.containerd.client import Client
from hakobune.errors import Unavailable


def test_closed(tmp_path: Path) -> None:
    async def body() -> None:
        client = Client(str(tmp_path / "nobody"), "moby")
        waiting = asyncio.create_task(client.ready(30))
        await asyncio.sleep(0.1)
        await client.close()
        with pytest.raises(Unavailable, match="is closed"):
            await asyncio.wait_for(waiting, 5)
        with pytest.raises(Unavailable, match="is closed"):
            await client.version.get()
        with pytest.raises(Unavailable, match="is closed"):
            await client.tasks.get("one")

    asyncio.run(body())
