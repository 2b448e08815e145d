"""An image's layers onto each other as snapshots, named by chain id as every containerd client names them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import weakref
from collections.abc import Sequence
from typing import BinaryIO

from hakobune.containerd.diff.unpack import Applied, unpack, unpack_while_it_comes
from hakobune.containerd.leases.store import Leases
from hakobune.containerd.snapshots.snapshotter import ACTIVE, UNDER_WAY, Snapshotter
from hakobune.containerd.transfer import tree
from hakobune.containerd.transfer.blobs import Blobs
from hakobune.containerd.transfer.growing import Growing
from hakobune.containerd.transfer.tree import Node
from hakobune.errors import AlreadyExists, FailedPrecondition, HakoError, InvalidArgument, NotFound
from hakobune.spec.mount import Mount

_UNCOMPRESSED = "containerd.io/uncompressed"
_CHAIN = "containerd.io/snapshot.ref"
_TURNS: weakref.WeakValueDictionary[tuple[str, ...], asyncio.Lock] = weakref.WeakValueDictionary()


def chain(parent: str, diff: str) -> str:
    """The chain id of a layer on `parent` ("" for the lowest): image-spec, config.md, Layer ChainID."""
    return f"sha256:{hashlib.sha256(f'{parent} {diff}'.encode()).hexdigest()}" if parent else diff


class Watch:
    """Who brings the layers and hears how far they are; this one has them all, and does not listen."""

    async def growing(self, layer: Node) -> Growing | None:
        """Wait until there is something of the layer's blob; None when that is, or will be, a matter of `ready`."""
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
    top = ""
    for layer, diff in zip(layers, diffs, strict=True):
        below, top = top, chain(top, diff)
        await _layer(blobs, snapshots, leases, layer, diff, below, top, watch)
        watch.extracted(layer)
    blobs.label(config.digest, {f"containerd.io/gc.ref.snapshot.{snapshots.name}": top})
    return top


def _diffs(blobs: Blobs, config: Node) -> Sequence[str]:
    try:
        diffs = blobs.document(config.digest)["rootfs"]["diff_ids"]
        return [str(diff) for diff in diffs]
    except (KeyError, TypeError):
        raise InvalidArgument(f"image configuration {config.digest} has no rootfs.diff_ids") from None


async def _layer(
    blobs: Blobs,
    snapshots: Snapshotter,
    leases: Leases,
    layer: Node,
    diff: str,
    below: str,
    name: str,
    watch: Watch,
) -> None:
    space, lease = blobs.namespace, blobs.lease
    if lease:
        leases.add(space, lease, f"snapshots/{snapshots.name}", name)
    async with _turn(space, snapshots.name, name):
        with contextlib.suppress(NotFound):
            snapshots.stat(space, name)
            await watch.ready(layer)
            return
        await _unpacked(blobs, snapshots, layer, diff, below, name, watch)


def _turn(*snapshot: str) -> asyncio.Lock:
    """Two transfers that want the same snapshot: the second one finds it made."""
    return _TURNS.setdefault(snapshot, asyncio.Lock())


async def _unpacked(
    blobs: Blobs, snapshots: Snapshotter, layer: Node, diff: str, below: str, name: str, watch: Watch
) -> None:
    space, lease = blobs.namespace, blobs.lease
    growing = await watch.growing(layer)
    key = f"extract-{secrets.token_hex(8)} {name}"
    labels = {_CHAIN: name, UNDER_WAY: ""}
    mounts = await snapshots.make(space, key, below, labels, kind=ACTIVE, lease=lease)
    try:
        applied = await _applied(blobs, layer, mounts, watch, growing)
        if applied is not None:
            if applied.digest != diff:
                raise FailedPrecondition(f"layer {layer.digest} unpacks to {applied.digest}, not to {diff}")
            blobs.label(layer.digest, {_UNCOMPRESSED: diff})
            with contextlib.suppress(AlreadyExists):  # somebody was faster
                await snapshots.commit(space, name, key, {_CHAIN: name}, lease=lease)
            return
    finally:
        with contextlib.suppress(HakoError):
            snapshots.remove(space, key)
    await _unpacked(blobs, snapshots, layer, diff, below, name, watch)


async def _applied(
    blobs: Blobs, layer: Node, mounts: Sequence[Mount], watch: Watch, growing: Growing | None
) -> Applied | None:
    """Out of the store, or while it comes there; None when what came was cut and is whole by now, by another try."""
    source = _opened(blobs, layer) if growing is not None else None
    if growing is None or source is None:
        await watch.ready(layer)
        watch.extracting(layer)
        return await unpack(blobs.path(layer.digest), mounts)
    with source:
        try:
            applied = await unpack_while_it_comes(source, growing, layer.size, mounts)
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
