"""What a list of images need not work out anew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from hakobune.containerd.client import Client
from hakobune.containerd.client.images import Image as Record
from hakobune.engine.images.catalogue import Catalogue
from hakobune.engine.images.model import CONFIG, MANIFEST, digest_of, document, manifest
from hakobune.spec.descriptor import Descriptor

CONFIGURATION = document({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"diff_ids": []}})
WHOLE = manifest(Descriptor(CONFIG, digest_of(CONFIGURATION), len(CONFIGURATION)), [])
TARGET = Descriptor(MANIFEST, digest_of(WHOLE), len(WHOLE))


class Manager:
    """One image, and the names that it is given."""

    def __init__(self) -> None:
        self.named = [Record("docker.io/library/one:latest", TARGET)]
        self.images = SimpleNamespace(list=self._list)
        self.content = SimpleNamespace(read_all=self._read)

    async def again(self, call: Callable[[], Awaitable[Any]]) -> Any:
        return await call()

    async def _list(self) -> list[Record]:
        return list(self.named)

    async def _read(self, digest: str) -> bytes:
        return {digest_of(one): one for one in (CONFIGURATION, WHOLE)}[digest]


def test_an_image_is_made_once_until_its_names_change() -> None:
    async def body() -> None:
        manager = Manager()
        catalogue = Catalogue(cast("Client", manager))
        (first,) = await catalogue.images()
        (again,) = await catalogue.images()
        assert again is first
        manager.named.append(Record("docker.io/library/two:latest", TARGET))
        assert (await catalogue.images())[0].names == ("one:latest", "two:latest")
        manager.named = [replace(manager.named[1], updated_at=7)]
        (last,) = await catalogue.images()
        assert (last.names, last.updated) == (("two:latest",), 7)
        assert json.loads(CONFIGURATION) == last.config

    asyncio.run(body())
