"""An image from a registry into the store: its documents first, then its layers side by side, unpacked as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from hakobune.containerd.transfer import naming, saving, tree
from hakobune.containerd.transfer.blobs import Blobs
from hakobune.containerd.transfer.deps import Deps, Tell
from hakobune.containerd.transfer.downloads import Moved
from hakobune.containerd.transfer.growing import Growing
from hakobune.containerd.transfer.together import AT_ONCE, first, in_turn
from hakobune.containerd.transfer.tracking import (
    COMPLETE,
    DOWNLOADING,
    EXISTS,
    EXTRACTED,
    EXTRACTING,
    Tracker,
)
from hakobune.containerd.transfer.tree import Node
from hakobune.containerd.transfer.unpacking import Watch
from hakobune.errors import InvalidArgument, NotFound
from hakobune.failpoint import reach
from hakobune.proto import transfer_types_pb2 as pb
from hakobune.registry import manifests
from hakobune.registry.remote import open_repository
from hakobune.registry.repository import Access, Repository
from hakobune.spec.descriptor import Descriptor
from hakobune.spec.reference import Reference

_MOST_MANIFESTS = 1000
SOURCE = "containerd.io/distribution.source."


async def pull(
    deps: Deps, blobs: Blobs, name: Reference, access: Access, store: pb.ImageStore, tell: Tell
) -> None:
    """Fetch, unpack and name it.

    Raises what the registry does, NotFound when it has nothing for the platforms, ResourceExhausted. Nothing has a
    name then; parts of blobs stay for the next pull when this one was cut.
    """
    where = f"OCI Registry ({name})"
    await tell(f"Resolving from {where}", "", None)
    async with open_repository(name, access) as repository:
        found = await repository.resolve(name.digest or name.tag)
        top = Node(found.media_type, found.digest, found.size)
        await tell(f"Pulling from {where}", "", None)
        await tell("fetching image content", str(name), top)
        async with Tracker(tell, str(name)) as tracker:
            await _Pull(deps, blobs, repository, name, store, tracker).run(top)
    for one in naming.of_whole(store, top.digest):
        reach("transfer.pull.name")
        saving.save(deps, blobs.namespace, one, top.message(), store)
        await tell("saved", one, top)
    await tell(f"Completed pull from {where}", "", None)


@dataclass
class _Pull(Watch):
    """One pull under way; as a Watch it brings the layers to those who unpack."""

    deps: Deps
    blobs: Blobs
    repository: Repository
    name: Reference
    store: pb.ImageStore
    tracker: Tracker
    manifests: list[Node] = field(default_factory=list)
    urls: dict[str, list[str]] = field(default_factory=dict)
    coming: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    growth: dict[str, Growing] = field(default_factory=dict)

    async def run(self, top: Node) -> None:
        """Everything but the name."""
        self.tracker.add(top)
        layers = await self._documents(top)
        turns = asyncio.Semaphore(AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                for layer in {one.digest: one for one in layers}.values():
                    self.growth[layer.digest] = Growing()
                    self.coming[layer.digest] = group.create_task(in_turn(turns, self._layer(layer)))
                await saving.unpack(self.deps, self.blobs, self.store, self.manifests, self)
        except BaseExceptionGroup as several:
            raise first(several) from None

    async def _documents(self, top: Node) -> list[Node]:
        """Fetch indexes, manifests and configurations under `top`; the layers that are wanted."""
        platforms = tree.platforms_of(self.store.platforms)
        layers: list[Node] = []
        todo = [(top, True)]
        seen = 0
        while todo:
            here, wanted = todo.pop(0)
            seen += 1
            if seen > _MOST_MANIFESTS:
                raise InvalidArgument(f"{self.name}: more than {_MOST_MANIFESTS} manifests")
            below = await self._document(here)
            if here.is_index:
                chosen = tree.chosen(below, platforms)
                if wanted and below and not any(one.is_index or one.is_manifest for one in chosen):
                    raise NotFound(f"no match for platform in manifest {here.digest}: not found")
                more = below if self.store.all_metadata else chosen
                todo += [(one, wanted and one in chosen) for one in more if one.is_index or one.is_manifest]
                below = more
            else:
                config, *rest = below
                await self._blob(config)
                if wanted:
                    self.manifests.append(here)
                    layers += rest
                else:
                    below = [config]
            for child in below:
                self.tracker.add(child, here, there=self.blobs.has(child.digest))
            self.blobs.label(here.digest, tree.labels(here, below))
        return layers

    async def _document(self, node: Node) -> list[Node]:
        """One index or manifest; its children."""
        self.blobs.hold(node.digest)
        if self.blobs.has(node.digest):
            self.tracker.said(node, EXISTS)
            body = manifests.checked(_descriptor(node), self.blobs.whole(node.digest))
        else:
            body = await self.repository.manifest(_descriptor(node))
            await self.blobs.put(_once(body))
            self.tracker.said(node, COMPLETE)
        self.blobs.label(node.digest, self._source(node.digest))
        document = self.blobs.document(node.digest)
        self._note_urls(document)
        return tree.children(document)

    def _note_urls(self, document: dict[str, object]) -> None:
        layers = document.get("layers")
        for layer in layers if isinstance(layers, list) else ():
            urls = layer.get("urls") if isinstance(layer, dict) else None
            if isinstance(urls, list) and tree.node(layer).is_foreign:
                self.urls[str(layer["digest"])] = [str(url) for url in urls]

    def _source(self, digest: str) -> dict[str, str]:
        """Where a blob came from, beside what else it came from: for mounts between repositories."""
        key = SOURCE + self.name.domain
        known = self.blobs.labels(digest).get(key, "") if self.blobs.has(digest) else ""
        paths = sorted({*filter(None, known.split(",")), self.name.path})
        return {key: ",".join(paths)}

    async def _layer(self, node: Node) -> None:
        growing = self.growth[node.digest]
        try:
            await self._blob(node, growing.moved)
            growing.end(whole=True)
        finally:
            growing.end(whole=growing.whole)

    async def _blob(self, node: Node, heard: Moved = lambda _offset: None) -> None:
        def moved(offset: int) -> None:
            self.tracker.said(node, DOWNLOADING, offset)
            heard(offset)

        labels = self._source(node.digest)
        fetched = await self.deps.downloads.get(
            self.blobs, self.repository, node, labels, moved, self.urls.get(node.digest, ())
        )
        self.tracker.said(node, COMPLETE if fetched else EXISTS)

    # --- Watch ---

    async def growing(self, layer: Node) -> Growing | None:
        """What has begun to come; None for what was there, or has come already."""
        found = self.growth[layer.digest]
        await found.further(0)
        return None if found.over else found

    async def ready(self, layer: Node) -> None:
        """Wait for its download."""
        await asyncio.shield(self.coming[layer.digest])

    def extracting(self, layer: Node) -> None:
        """Told to the client."""
        self.tracker.said(layer, EXTRACTING)

    def extracted(self, layer: Node) -> None:
        """Told to the client."""
        self.tracker.said(layer, EXTRACTED)


def _descriptor(node: Node) -> Descriptor:
    return Descriptor(node.media_type, node.digest, node.size)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
