"""The image that is always there: made out of this host's programs when somebody first asks for it.

Imports: layers.starter, tempfile (the layer waits on disk between its maker's thread and the manager).
"""

from __future__ import annotations

import asyncio
import errno
import tempfile
import time
from collections.abc import AsyncIterator
from typing import IO, Any

from hakobune.containerd.client import Client
from hakobune.engine.images import layer
from hakobune.engine.images.catalogue import Catalogue
from hakobune.engine.images.model import Content, host_platform
from hakobune.engine.schema.times import rfc3339
from hakobune.errors import Internal, NotFound, ResourceExhausted
from hakobune.layers import starter
from hakobune.spec import reference

STARTER = reference.parse("hako/starter").whole()
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BLOCK = 1 << 20


class Starter:
    """Makes it once, however many ask at the same time, and goes on when those who asked go away."""

    def __init__(self, client: Client, catalogue: Catalogue) -> None:
        self._client = client
        self._catalogue = catalogue
        self._making: asyncio.Task[tuple[Content, bool]] | None = None

    async def get(self) -> tuple[Content, bool]:
        """Its content, and whether it is new: true for one of those who waited. Raises HakoError."""
        if self._making is None:
            self._making = asyncio.get_running_loop().create_task(self._find_or_make())
            self._making.add_done_callback(self._made)
            return await asyncio.shield(self._making)
        content, _ = await asyncio.shield(self._making)
        return content, False

    def _made(self, task: asyncio.Task[tuple[Content, bool]]) -> None:
        self._making = None
        if not task.cancelled():
            task.exception()  # whoever asked has seen it, or has gone

    async def _find_or_make(self) -> tuple[Content, bool]:
        try:
            record = await self._catalogue.record(str(STARTER))
            return await self._catalogue.content(record.target), False
        except NotFound:
            return await self._make(), True

    async def _make(self) -> Content:
        with tempfile.TemporaryFile(prefix="hako-starter-") as file:
            await asyncio.to_thread(_write, file)
            async with layer.lease(self._client):
                base = await layer.add(self._client, _parts(file))
                async with self._catalogue.lock:
                    return await layer.publish(self._client, self._catalogue, [base], config(), str(STARTER))


def _write(file: IO[bytes]) -> None:
    try:
        starter.write_tar(file)
        file.seek(0)
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhausted(f"image {STARTER.familiar}: no space left on device") from err
        raise Internal(f"image {STARTER.familiar}: {err}") from err


async def _parts(file: IO[bytes]) -> AsyncIterator[bytes]:
    while part := file.read(_BLOCK):
        yield part


def config() -> dict[str, Any]:
    """Its configuration, all but the layer."""
    architecture, variant = host_platform()
    now = rfc3339(time.time_ns())
    return {
        "architecture": architecture,
        **({"variant": variant} if variant else {}),
        "os": "linux",
        "created": now,
        "config": {
            "Cmd": ["/bin/sh"],
            "Env": [f"PATH={_PATH}"],
            "WorkingDir": "/",
            "Labels": {"org.opencontainers.image.title": STARTER.familiar_name},
        },
        "history": [
            {"created": now, "created_by": "programs of this host", "comment": "made by hakod on demand"}
        ],
    }
