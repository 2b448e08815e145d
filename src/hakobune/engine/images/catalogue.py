"""Which names there are and what they stand for, read from containerd and remembered.

A record of a name is believed for `FRESH_SECONDS`, since somebody else may change it below us; what we write
counts at once. Content does not change but by a pull or a load, so it is read once, also over the engine's ends. Names that end in `@<digest>` under `<none>` keep
images that have no name. Imports: containerd.client, spec.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hakobune.containerd.client import Client
from hakobune.containerd.client.images import Image as Record
from hakobune.engine.images.model import Content, Image, chains, created_of, host_platform
from hakobune.engine.images.remembered import Remembered
from hakobune.errors import AlreadyExists, DataLoss, HakoError, NotFound
from hakobune.spec import reference
from hakobune.spec.descriptor import Descriptor

NAMELESS = "<none>@"
FRESH_SECONDS = 1.0
_PINNED = "containerd.io/gc.ref.content.p."
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_AT_ONCE = 16  # images that are read at the same time, after a start


class Catalogue:
    """Belongs to the loop's thread. Writers of names hold `lock`, so that they see each other's work.

    `remembered` is what an engine before us has read.
    """

    def __init__(self, client: Client, remembered: Remembered | None = None) -> None:
        self._client = client
        self._remembered = remembered
        self._contents: dict[str, Content] = {}  # manifest digest -> content
        self._sizes: dict[str, int] = {}  # committed snapshot -> bytes
        self._records: dict[str, tuple[Record, float]] = {}  # full name -> record, when it was read
        self._named: dict[
            str, tuple[Content, list[Record], Image]
        ] = {}  # manifest digest -> of what, the image
        self.lock = asyncio.Lock()

    async def record(self, full: str) -> Record:
        """The record of a full name. Raises NotFound."""
        known = self._records.get(full)
        now = time.monotonic()
        if known is not None and now - known[1] < FRESH_SECONDS:
            return known[0]
        self._records.pop(full, None)
        record = await self._client.again(lambda: self._client.images.get(full))
        self._records[full] = record, now
        return record

    async def records(self) -> list[Record]:
        """All names."""
        found = await self._client.again(self._client.images.list)
        now = time.monotonic()
        self._records = {record.name: (record, now) for record in found}
        known = {record.target.digest for record in found}
        for digest in [digest for digest in self._contents if digest not in known]:
            self.forget(digest)
        for digest in self._named.keys() - known:
            del self._named[digest]
        self._sizes.clear()
        return found

    def forget(self, digest: str) -> None:
        """It may stand for something else now, as a list of which one more platform was fetched."""
        self._contents.pop(digest, None)
        if self._remembered is not None:
            self._remembered.forget([digest])

    async def content(self, target: Descriptor) -> Content:
        """What a record stands for. Raises DataLoss when parts are missing, HakoError."""
        known = self._contents.get(target.digest)
        if known is None:
            try:
                known = await self._client.again(lambda: self._load(target))
            except (NotFound, ValueError, KeyError, TypeError) as err:
                raise DataLoss(f"image {target.digest} is not whole: {err}") from err
            self._contents[target.digest] = known
            if self._remembered is not None:
                self._remembered.keep(known)
        return known

    async def _load(self, target: Descriptor) -> Content:
        manifest = json.loads(await self._client.content.read_all(target.digest))
        if "manifests" not in manifest:
            return await self._load_manifest(target, manifest)
        lost = DataLoss(f"image {target.digest} has nothing for this machine")
        for one in by_platform(manifest["manifests"]):
            try:
                below = json.loads(await self._client.content.read_all(str(one["digest"])))
                return await self._load_manifest(target, below)
            except NotFound as err:  # the index was fetched, and not all of what it lists
                lost = DataLoss(f"image {target.digest} is not whole: {err}")
        raise lost

    async def _load_manifest(self, target: Descriptor, manifest: dict[str, Any]) -> Content:
        identity = str(manifest["config"]["digest"])
        config: dict[str, Any] = json.loads(await self._client.content.read_all(identity))
        names = chains(config["rootfs"]["diff_ids"])
        sizes = [await self._size(name) for name in names]
        top = names[-1] if names else ""
        blobs = tuple(_descriptor(layer) for layer in manifest["layers"])
        return Content(identity, target, config, top, tuple(sizes), created_of(config), blobs)

    async def _size(self, snapshot: str) -> int:
        """Bytes of a layer, which never change; many images lie on the same ones."""
        known = self._sizes.get(snapshot)
        if known is None:
            known = self._sizes[snapshot] = (await self._client.snapshots.usage(snapshot)).size
        return known

    async def content_for(self, target: Descriptor, platform: tuple[str, str]) -> Content | None:
        """Of an index what is here for (system, architecture), whole; None when there is none. Raises HakoError."""
        for one in await self._here(target):
            place = one.get("platform") or {}
            if (place.get("os"), place.get("architecture")) == platform:
                below = json.loads(await self._client.content.read_all(str(one["digest"])))
                return await self._load_manifest(target, below)
        return None

    async def platforms(self, target: Descriptor) -> list[tuple[str, str, str]]:
        """(system, architecture, variant) of each image of an index that is here with all its layers. Raises HakoError."""
        found = []
        for one in await self._here(target):
            place = one.get("platform") or {}
            found.append(tuple(str(place.get(key) or "") for key in ("os", "architecture", "variant")))
        return found  # type: ignore[return-value]

    async def platform_of(self, target: Descriptor) -> tuple[str, str, str] | None:
        """What a manifest's image is for, by its configuration; None when not all of it is here."""
        if not await self.is_whole(target.digest):
            return None
        config = json.loads(await self._client.content.read_all(target.digest))["config"]["digest"]
        place = json.loads(await self._client.content.read_all(str(config)))
        return tuple(str(place.get(key) or "") for key in ("os", "architecture", "variant"))  # type: ignore[return-value]

    async def _here(self, target: Descriptor) -> list[dict[str, Any]]:
        """What an index lists and the store has."""
        index = json.loads(await self._client.content.read_all(target.digest))
        return [one for one in index.get("manifests") or () if await self.is_whole(str(one["digest"]))]

    async def _pin(self, target: Descriptor) -> None:
        """Keep what is here of an index, though another platform of it is fetched next.

        Managers hold an index's images by labels that they number from nought at each pull.
        """
        labels = {f"{_PINNED}{one['digest'][7:19]}": str(one["digest"]) for one in await self._here(target)}
        if labels:
            info = await self._client.content.info(target.digest)
            await self._client.content.update(target.digest, {**info.labels, **labels})

    async def is_whole(self, digest: str) -> bool:
        """Whether a manifest is here, and all that it lists."""
        try:
            manifest = json.loads(await self._client.content.read_all(digest))
            for one in (manifest["config"], *manifest["layers"]):
                await self._client.content.info(str(one["digest"]))
        except (NotFound, ValueError, KeyError, TypeError):
            return False
        return True

    async def images(self) -> list[Image]:
        """All images, each with its names; those that are not whole, or not ours, are left out."""
        grouped: dict[str, list[Record]] = {}
        for record in await self.records():
            grouped.setdefault(record.target.digest, []).append(record)
        found: dict[str, Image] = {}
        await self._read([one[0].target for digest, one in grouped.items() if digest not in self._contents])
        for digest, records in grouped.items():
            content = self._contents.get(digest)
            if content is None:
                continue
            image = self._image(digest, content, records)
            if other := found.get(image.id):  # two manifests of one configuration
                names = tuple(sorted({*other.names, *image.names}))
                digested = tuple(sorted({*other.digested, *image.digested}))
                updated = max(image.updated, other.updated)
                image = replace(image, names=names, updated=updated, digested=digested)
            found[image.id] = image
        return list(found.values())

    def _image(self, digest: str, content: Content, records: list[Record]) -> Image:
        """Content with its names: the one of the list before, as long as nobody has named it anew."""
        known = self._named.get(digest)
        if known is None or known[0] is not content or known[1] != records:
            known = self._named[digest] = content, records, _named(content, records)
        return known[2]

    async def _read(self, targets: Sequence[Descriptor]) -> None:
        """Remember their content, but for what is not whole or not ours."""
        targets = await self._recalled(targets)
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(target: Descriptor) -> None:
            async with turns:
                with contextlib.suppress(HakoError):
                    await self.content(target)

        await asyncio.gather(*map(one, targets))

    async def _recalled(self, targets: Sequence[Descriptor]) -> Sequence[Descriptor]:
        """Take what an engine before us has read, as far as its parts are still there; those that are left to read."""
        wanted = {target.digest for target in targets}
        if self._remembered is None or not (known := self._remembered.of(wanted)):
            return targets
        if not self._contents:  # the first time: rows of images that are no more
            self._remembered.forget(self._remembered.digests() - wanted)
        blobs = {info.digest for info in await self._client.content.list()}
        snapshots = {one.name for one in await self._client.snapshots.list()}
        for content in known:
            if {content.target.digest, content.id} <= blobs and (
                not content.chain or content.chain in snapshots
            ):
                self._contents[content.target.digest] = content
        return [target for target in targets if target.digest not in self._contents]

    async def put(self, full: str, target: Descriptor) -> None:
        """Let a name stand for this; what loses its last name by it is kept without one. Needs `lock`."""
        records = await self._client.images.list()
        old = next((record for record in records if record.name == full), None)
        if old is not None and old.target.digest != target.digest:
            await self.keep(old.target, [record for record in records if record is not old])
        await self._write(Record(full, target))
        nameless = NAMELESS + target.digest
        if full != nameless and any(record.name == nameless for record in records):
            await self.drop(nameless)

    async def hold(self, full: str) -> Record | None:
        """Before the manager gives `full` to other content: see to it that what has it now stays. Needs `lock`."""
        try:
            record = await self._client.images.get(full)
        except NotFound:
            return None
        await self._write(Record(NAMELESS + record.target.digest, record.target))
        if record.target.media_type in _INDEXES:
            with contextlib.suppress(NotFound, ValueError):  # it is not whole: nothing to keep
                await self._pin(record.target)
        return record

    async def settle(self, full: str, held: Record | None) -> None:
        """After `hold`, however it went: what has a name needs none of the other kind. Needs `lock`."""
        self._records.pop(full, None)
        records = await self._client.images.list()
        for one in records:
            if one.name == full:
                self.forget(one.target.digest)
        named = {one.target.digest for one in records if not one.name.startswith(NAMELESS)}
        ours = {one.target.digest for one in records if one.name == full}
        for digest in (ours | ({held.target.digest} if held else set())) & named:
            await self.drop(NAMELESS + digest)

    @staticmethod
    def best(listed: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        """Of manifests of an index the one for this machine, else the first."""
        return next(iter(by_platform(listed)), None)

    async def keep(self, target: Descriptor, others: Sequence[Record]) -> None:
        """See to it that content has a record other than the one that goes. Needs `lock`."""
        if not any(record.target.digest == target.digest for record in others):
            await self._write(Record(NAMELESS + target.digest, target))

    async def _write(self, record: Record) -> None:
        try:
            written = await self._client.images.create(record)
        except AlreadyExists:
            written = await self._client.images.update(record)
        self._records[record.name] = written, time.monotonic()

    async def drop(self, full: str, *, sync: bool = False) -> None:
        """Forget a name, with `sync` also what only it kept; silent when it is not there. Needs `lock`."""
        self._records.pop(full, None)
        try:
            await self._client.images.delete(full, sync=sync)
        except NotFound:
            return


def _descriptor(document: dict[str, Any]) -> Descriptor:
    return Descriptor(str(document["mediaType"]), str(document["digest"]), int(document["size"]))


def by_platform(listed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The manifests of an index, those for this machine first, then in their order."""
    architecture, _ = host_platform()

    def fits(one: dict[str, Any]) -> bool:
        platform = one.get("platform") or {}
        return platform.get("os") == "linux" and platform.get("architecture") == architecture

    return sorted(listed, key=lambda one: not fits(one))


def _named(content: Content, records: Sequence[Record]) -> Image:
    parsed = [reference.parse(record.name) for record in records if _is_name(record.name)]
    return Image(
        content,
        tuple(sorted(one.familiar for one in parsed if not one.digest)),
        max(record.updated_at for record in records),
        tuple(sorted(one.familiar for one in parsed if one.digest)),
    )


def _is_name(full: str) -> bool:
    if full.startswith(NAMELESS):
        return False
    try:
        reference.parse(full)
    except HakoError:
        return False
    return True
