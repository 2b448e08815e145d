"""All images of the engine: found by name or id, made from archives, tagged, removed.

What exists is what the manager's records say; this class keeps an index of them, written only by itself and
read again when something is missing from it. Imports: containerd.client, layers, spec.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from hakobune.containerd.client import Client
from hakobune.containerd.client.images import Image as Record
from hakobune.engine.images import importing, starter
from hakobune.engine.images.model import DANGLING, Image, chain_of
from hakobune.errors import Conflict, HakoError, InvalidArgument, NotFound
from hakobune.spec import reference
from hakobune.spec.descriptor import Descriptor

_HEX = re.compile(r"(?:sha256:)?[a-f0-9]{4,64}")


class Bus(Protocol):
    """Where events go."""

    def publish(self, kind: str, action: str, actor: str, attributes: Mapping[str, str]) -> None: ...


Users = Callable[[str], list[tuple[str, bool]]]  # image id -> (container id, whether it runs)


class Images:
    """The index and its verbs. Belongs to the loop's thread."""

    def __init__(self, client: Client, bus: Bus, users: Users) -> None:
        self.client = client
        self._bus = bus
        self._users = users
        self._records: dict[str, Descriptor] = {}
        self._known: dict[str, Image] = {}  # by manifest digest; `records` are filled in on the way out
        self._loaded = False
        self._building = asyncio.Lock()

    # --- looking up ---

    async def refresh(self) -> None:
        """Read the manager's records again."""
        self._records = {record.name: record.target for record in await self.client.images.list()}
        self._loaded = True

    async def every(self) -> list[Image]:
        """All images, each once, with all its names."""
        await self.refresh()
        found = []
        for digest in dict.fromkeys(target.digest for target in self._records.values()):
            try:
                found.append(await self._image(digest))
            except HakoError:
                continue  # its content is gone; removing its name still works
        return found

    async def _image(self, manifest: str) -> Image:
        names = tuple(sorted(name for name, target in self._records.items() if target.digest == manifest))
        known = self._known.get(manifest)
        if known is None:
            known = self._known[manifest] = await self._read(manifest)
        if known.records == names:
            return known
        known = Image(known.id, manifest, names, known.chain, known.config, known.size)
        self._known[manifest] = known
        return known

    async def _read(self, digest: str) -> Image:
        manifest = json.loads(await self.client.content.read_all(digest))
        config_digest = manifest["config"]["digest"]
        config = json.loads(await self.client.content.read_all(config_digest))
        chain = chain_of(config["rootfs"]["diff_ids"])
        size, parent = 0, chain
        while parent:
            size += (await self.client.snapshots.usage(parent)).size
            parent = (await self.client.snapshots.stat(parent)).parent
        return Image(config_digest, digest, (), chain, config, size)

    async def resolve(self, text: str) -> Image:
        """By name, id, or a beginning of an id. `hako/starter` is made when it is asked for.

        Raises NotFound with Docker's words, InvalidArgument for what cannot be a name.
        """
        found = await self._find(text)
        if found is None and not self._loaded:
            await self.refresh()
            found = await self._find(text)
        if found is not None:
            return found
        if starter.wanted(text):
            return await self.starter()
        name = reference.parse(text)
        raise NotFound(f"No such image: {name.short}")

    async def _find(self, text: str) -> Image | None:
        if not text:
            raise InvalidArgument("no image is named: Image must not be empty")
        try:
            target = self._records.get(reference.parse(text).full)
        except InvalidArgument:
            if not _HEX.fullmatch(text):
                raise
            target = None
        if target is not None:
            return await self._image(target.digest)
        return await self._by_id(text)

    async def _by_id(self, text: str) -> Image | None:
        """By (a beginning of) the id or, after an @, the manifest's digest."""
        digest = text.partition("@")[2] or text
        if not _HEX.fullmatch(digest):
            return None
        wanted = digest.removeprefix("sha256:")
        found = []
        for manifest in {target.digest for target in self._records.values()}:
            image = await self._image(manifest)
            if image.id[7:].startswith(wanted) or manifest[7:].startswith(wanted):
                found.append(image)
        if len(found) > 1:
            raise InvalidArgument(f"image ID {text!r} fits several images: write more of it")
        return found[0] if found else None

    async def starter(self) -> Image:
        """The image that every machine can make for itself."""
        async with self._building:
            await self.refresh()
            found = await self._find(starter.NAME)
            if found is not None:
                return found
            await starter.build(self)
            image = await self._find(starter.NAME)
            assert image is not None
            self._tell("pull", image, starter.NAME)
            return image

    # --- making ---

    async def add(self, source: importing.Source, config: dict[str, Any], name: str) -> Image:
        """A new image of one layer. Raises InvalidArgument (no tar), ResourceExhausted; nothing is left then."""
        target = await importing.layer(self.client, source, config)
        record = reference.parse(name).full if name else DANGLING + target.digest
        await self._name(record, target)
        await importing.settle(self.client, target)
        image = await self._image(target.digest)
        if not name.startswith(starter.NAME):
            self._tell("import", image, name or image.id)
        return image

    async def _name(self, record: str, target: Descriptor) -> None:
        """Let a name lead to an image; the image it led to before keeps a dangling one."""
        old = self._records.get(record)
        if old is not None and old.digest != target.digest:
            others = [
                name for name, other in self._records.items() if other.digest == old.digest and name != record
            ]
            if not others:
                await self._write(DANGLING + old.digest, old)
        await self._write(record, target)
        dangling = DANGLING + target.digest
        if record != dangling and dangling in self._records:
            await self.client.images.delete(dangling)
            del self._records[dangling]

    async def _write(self, name: str, target: Descriptor) -> None:
        if name in self._records:
            await self.client.images.update(Record(name, target))
        else:
            await self.client.images.create(Record(name, target))
        self._records[name] = target

    async def tag(self, text: str, repository: str, tag: str) -> None:
        """Another name for an image."""
        image = await self.resolve(text)
        name = reference.parse(f"{repository}:{tag}" if tag else repository)
        if name.digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        await self._name(name.full, self._records[image.records[0]])
        self._tell("tag", await self._image(image.manifest), name.short)

    # --- removing ---

    async def remove(self, text: str, *, force: bool) -> list[dict[str, str]]:
        """Untag, and delete with the last name. Raises Conflict while a container needs it."""
        image = await self.resolve(text)
        named = self._named(image, text)
        if named and len(image.records) > 1:
            return [await self._untag(image, named)]
        self._check_unused(image, named, force=force)
        if not named and len(image.tags) > 1 and not force:
            raise Conflict(
                f"conflict: unable to delete {image.id[7:19]} (must be forced) - "
                "image is referenced in multiple repositories"
            )
        gone = [await self._untag(image, record) for record in image.records]
        self._known.pop(image.manifest, None)
        self._tell("delete", image, image.id)
        return [entry for entry in gone if entry] + [{"Deleted": image.id}]

    def _named(self, image: Image, text: str) -> str:
        try:
            record = reference.parse(text).full
        except InvalidArgument:
            return ""
        return record if record in image.records else ""

    def _check_unused(self, image: Image, named: str, *, force: bool) -> None:
        users = self._users(image.id)
        running = next((container for container, runs in users if runs), "")
        short = image.id[7:19]
        if running and not named:
            raise Conflict(
                f"conflict: unable to delete {short} (cannot be forced) - "
                f"image is being used by running container {running[:12]}"
            )
        if users and not force:
            container = running or users[0][0]
            if named:
                raise Conflict(
                    f'conflict: unable to remove repository reference "{reference.parse(named).short}" (must force) - '
                    f"container {container[:12]} is using its referenced image {short}"
                )
            raise Conflict(
                f"conflict: unable to delete {short} (must be forced) - "
                f"image is being used by stopped container {container[:12]}"
            )

    async def _untag(self, image: Image, record: str) -> dict[str, str]:
        try:
            await self.client.images.delete(record, sync=len(image.records) == 1)
        except NotFound:
            pass
        self._records.pop(record, None)
        if record.startswith(DANGLING):
            return {}
        short = reference.parse(record).short
        self._tell("untag", image, short)
        return {"Untagged": short}

    async def prune(self, *, every: bool, fits: Callable[[Image], bool]) -> tuple[list[dict[str, str]], int]:
        """Remove images without a name, or with `every` all that no container has; (what went, bytes)."""
        gone: list[dict[str, str]] = []
        space = 0
        for image in await self.every():
            if self._users(image.id) or (image.tags and not every) or not fits(image):
                continue
            gone += await self.remove(image.id, force=True)
            space += image.size
        return gone, space

    def _tell(self, action: str, image: Image, name: str) -> None:
        self._bus.publish("image", action, image.id, {**image.labels, "name": name})
