"""An image's layers onto each other as snapshots, named by chain id as every containerd client names them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from hakobune.containerd.diff.unpack import Applied, Below, unpack, unpack_while_it_comes
from hakobune.containerd.leases.store import Leases
from hakobune.containerd.snapshots.snapshotter import Snapshotter
from hakobune.containerd.transfer import tree
from hakobune.containerd.transfer.blobs import Blobs
from hakobune.containerd.transfer.extraction import Extraction
from hakobune.containerd.transfer.growing import Growing
from hakobune.containerd.transfer.together import AT_ONCE, first
from hakobune.containerd.transfer.tree import Node
from hakobune.errors import FailedPrecondition, HakoError, InvalidArgument, NotFound
from hakobune.spec.mount import Mount

_UNCOMPRESSED = "containerd.io/uncompressed"
_TURNS: weakref.WeakValueDictionary[tuple[str, ...], asyncio.Lock] = weakref.WeakValueDictionary()


def chain(parent: str, diff: str) -> str:
    """The chain id of a layer on `parent` ("" for the lowest): image-spec, config.md, Layer ChainID."""
    return f"sha256:{hashlib.sha256(f'{parent} {diff}'.encode()).hexdigest()}" if parent else diff


class Watch:
    """Who brings the layers and hears how far they are; this one has them all, and does not listen."""

    async def growing(self, layer: Node) -> Growing | None:
        """Wait until there is something of the layer's blob; None when that is, or will be, a matter of `ready`."""
        return None

    def begun(self, layer: Node) -> Extraction | None:
        """The layer as it was unpacked, or is, before it was known what it is of; the caller's to close."""
        return None

    async def ready(self, layer: Node) -> None:
        """Wait until the layer's blob is in the store. Raises what its download does."""

    def extracting(self, layer: Node) -> None:
        """It is being unpacked."""

    def extracted(self, layer: Node) -> None:
        """Its snapshot is there."""


QUIET = Watch()


async def unpack_image(
    blobs: Blobs, snapshots: Snapshotter, leases: Leases, manifest: Node, watch: Watch = QUIET
) -> str:
    """The name of the uppermost snapshot, which the configuration holds from now on; "" for what is no image to run.

    Raises InvalidArgument, NotFound, ResourceExhausted; layers that were unpacked until then are the lease's.
    """
    config, *layers = tree.children(blobs.document(manifest.digest))
    if not config.is_config:
        return ""
    diffs = _diffs(blobs, config)
    if len(diffs) != len(layers):
        raise InvalidArgument(
            f"image {manifest.digest} has {len(layers)} layers, its configuration {len(diffs)}"
        )
    work = _Unpacking(blobs, snapshots, leases, watch)
    top, under = "", None
    try:
        async with asyncio.TaskGroup() as group:
            for layer, diff in zip(layers, diffs, strict=True):
                below, top = top, chain(top, diff)
                under = group.create_task(work.layer(layer, _Place(diff, top, below, under)))
    except BaseExceptionGroup as several:
        raise first(several) from None
    blobs.label(config.digest, {f"containerd.io/gc.ref.snapshot.{snapshots.name}": top})
    return top


def _diffs(blobs: Blobs, config: Node) -> Sequence[str]:
    try:
        diffs = blobs.document(config.digest)["rootfs"]["diff_ids"]
        return [str(diff) for diff in diffs]
    except (KeyError, TypeError):
        raise InvalidArgument(f"image configuration {config.digest} has no rootfs.diff_ids") from None


@dataclass(frozen=True, slots=True)
class _Place:
    """What a layer has to unpack to, the name of its snapshot, and that of the one below, which `under` makes."""

    diff: str
    name: str
    below: str
    under: asyncio.Task[None] | None

    async def ready(self) -> None:
        """The layers below are snapshots. Raises CancelledError when they cannot be."""
        if self.under is not None:
            await asyncio.shield(self.under)


@dataclass
class _Unpacking:
    """The layers of one image, side by side as far as the snapshotter can.

    A turn is taken before anything is waited for, and in the layers' order: who has one waits for none above.
    """

    blobs: Blobs
    snapshots: Snapshotter
    leases: Leases
    watch: Watch
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def layer(self, layer: Node, place: _Place) -> None:
        """One of them."""
        async with self.turns:
            await self._layer(layer, place)
        self.watch.extracted(layer)

    async def _layer(self, layer: Node, place: _Place) -> None:
        space, lease = self.blobs.namespace, self.blobs.lease
        if lease:
            self.leases.add(space, lease, f"snapshots/{self.snapshots.name}", place.name)
        async with _turn(space, self.snapshots.name, place.name):
            with contextlib.suppress(NotFound):
                self.snapshots.stat(space, place.name)
                await self.watch.ready(layer)
                return
            while not await self._made(layer, place):
                pass

    async def _made(self, layer: Node, place: _Place) -> bool:
        """Unpack and commit; False when what came was cut, and is whole by now."""
        if not self.snapshots.rebases:
            await place.ready()
        async with self.watch.begun(layer) or await self._begin(layer, place) as extraction:
            await place.ready()
            applied = await extraction.lay_onto(place.below)
            if applied is None:
                return False
            if applied.digest != place.diff:
                raise FailedPrecondition(
                    f"layer {layer.digest} unpacks to {applied.digest}, not to {place.diff}"
                )
            self.blobs.label(layer.digest, {_UNCOMPRESSED: place.diff})
            await extraction.commit(place.name, place.below)
        return True

    async def _begin(self, layer: Node, place: _Place) -> Extraction:
        growing = await self.watch.growing(layer)

        async def work(mounts: Sequence[Mount], below: Below) -> Applied | None:
            return await _applied(self.blobs, layer, mounts, below, self.watch, growing)

        return Extraction(self.blobs, self.snapshots, "" if self.snapshots.rebases else place.below, work)


def _turn(*snapshot: str) -> asyncio.Lock:
    """Two transfers that want the same snapshot: the second one finds it made."""
    return _TURNS.setdefault(snapshot, asyncio.Lock())


async def _applied(
    blobs: Blobs, layer: Node, mounts: Sequence[Mount], below: Below, watch: Watch, growing: Growing | None
) -> Applied | None:
    """Out of the store, or while it comes there; None when what came was cut and is whole by now, by another try."""
    source = _opened(blobs, layer) if growing is not None else None
    if growing is None or source is None:
        await watch.ready(layer)
        watch.extracting(layer)
        return await unpack(blobs.path(layer.digest), mounts, below)
    with source:
        try:
            applied = await unpack_while_it_comes(source, growing, layer.size, mounts, below)
        except HakoError:
            await watch.ready(layer)
            if growing.cut:
                return None
            raise
    await watch.ready(layer)
    watch.extracting(layer)
    return applied


def _opened(blobs: Blobs, layer: Node) -> BinaryIO | None:
    """The file that is being written; None when that is over."""
    try:
        return open(blobs.ingest_path(layer.ref), "rb")
    except (NotFound, FileNotFoundError):
        return None
