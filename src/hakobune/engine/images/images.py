"""What other rooms know of images: `Images`, which finds them by anything that people call them.

Verbs are functions of this room's other files over `Images`. Imports: the room's own modules.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from hakobune.containerd.client import Client
from hakobune.engine.images import platforms
from hakobune.engine.images.catalogue import Catalogue
from hakobune.engine.images.model import Image
from hakobune.engine.images.remembered import Remembered
from hakobune.engine.images.starter import STARTER, Starter
from hakobune.errors import InvalidArgument, NotFound
from hakobune.spec import reference
from hakobune.spec.reference import Reference

_HEX = re.compile(r"[a-f0-9]{1,64}")

Users = Callable[[str], Sequence[tuple[str, bool]]]


class Bus(Protocol):
    """Where events go."""

    def publish(self, kind: str, action: str, actor: str, attributes: Mapping[str, str]) -> None: ...


class Images:
    """`users(image id)` tells which containers were made of it: (id, whether it runs)."""

    def __init__(self, client: Client, bus: Bus, users: Users, remembered: Remembered | None = None) -> None:
        self.client = client
        self.users = users
        self.catalogue = Catalogue(client, remembered)
        self.starter = Starter(client, self.catalogue)
        self.used: dict[str, int] = {}  # id -> when a container was made of it last, in nanoseconds
        self._bus = bus

    async def resolve(self, text: str, platform: str = "") -> Image:
        """The image for a new container; the starter image is made when it is not there yet.

        Raises NotFound, also when it is not here for the platform; InvalidArgument.
        """
        try:
            image = (await self.find(text))[0]
        except NotFound:
            if named(text) != STARTER:
                raise
            image = await self.fetch_starter()
        image = await platforms.of_image(self.catalogue, image, text, platform)
        self.used[image.id] = time.time_ns()
        return image

    async def fetch_starter(self) -> Image:
        """Make the starter image unless it is there. Raises what `layer.add` does, NotFound without a shell."""
        content, fresh = await self.starter.get()
        image = Image(content, (STARTER.familiar,))
        if fresh:
            attributes = {**content.labels, "name": STARTER.familiar_name}
            self._bus.publish("image", "pull", STARTER.familiar, attributes)
        return image

    async def find(self, text: str) -> tuple[Image, Reference | None]:
        """An image by name, digest, id or the beginning of one; and the name, when it was one.

        The image's `names` are complete only by way of an id. Raises NotFound, InvalidArgument.
        """
        name = named(text)
        if name is not None and not name.digest:
            try:
                record = await self.catalogue.record(str(name))
            except NotFound:
                pass
            else:
                content = await self.catalogue.content(record.target)
                return Image(content, (name.familiar,), record.updated_at), name
        elif name is not None:
            return await self._by_digest(name), name
        return await self._by_id(text, name), None

    async def _by_digest(self, name: Reference) -> Image:
        for image in await self.catalogue.images():
            known = {reference.parse(one).name for one in (*image.names, *image.digested)}
            if name.digest == image.content.target.digest and name.name in known:
                return image
        raise NotFound(f"No such image: {name.familiar}")

    async def _by_id(self, text: str, name: Reference | None) -> Image:
        digits = text.removeprefix("sha256:")
        fitting: list[Image] = []
        if _HEX.fullmatch(digits):
            images = await self.catalogue.images()
            fitting = [one for one in images if one.id.startswith(f"sha256:{digits}")]
        if len(fitting) > 1:
            raise InvalidArgument(f"multiple IDs found with provided prefix: {text}")
        if not fitting:
            raise NotFound(f"No such image: {name.familiar if name else text}")
        return fitting[0]

    async def every(self) -> list[Image]:
        """All images, each once, with all its names."""
        return await self.catalogue.images()

    async def complete(self, image: Image) -> Image:
        """The image with all its names. Raises NotFound."""
        for one in await self.catalogue.images():
            if one.id == image.id:
                return one
        raise NotFound(f"No such image: {image.id}")

    def tell_pull(self, image: Image, name: Reference) -> None:
        """Publish that it was pulled: of this event the name is the actor."""
        attributes = {**image.content.labels, "name": name.familiar_name}
        self._bus.publish("image", "pull", name.familiar, attributes)

    def tell(self, image: Image, action: str, name: str = "") -> None:
        """Publish an event about an image; `name` when it is about one of its names."""
        self._bus.publish("image", action, image.id, {**image.content.labels, "name": name or image.id})


def named(text: str) -> Reference | None:
    """The whole name that a text stands for; None when it can only be an id. Raises InvalidArgument."""
    if not text:
        raise InvalidArgument("invalid reference format")
    if (text.startswith("sha256:") and _HEX.fullmatch(text[7:])) or (
        len(text) == 64 and _HEX.fullmatch(text)
    ):
        return None
    return reference.parse(text).whole()
