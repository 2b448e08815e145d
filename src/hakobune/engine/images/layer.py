"""From a stream of bytes to an image: content, snapshot, configuration and manifest, held by a lease meanwhile.

Whatever goes wrong, and when the client goes away, the lease goes with all that it held. After a crash it
ends by itself. Imports: containerd.client, layers (telling compressions apart), spec.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from hakobune.containerd.client import Client
from hakobune.engine.images.catalogue import Catalogue
from hakobune.engine.images.model import (
    CONFIG,
    LAYER,
    MANIFEST,
    Content,
    chains,
    digest_of,
    document,
    manifest,
)
from hakobune.engine.schema.times import rfc3339
from hakobune.errors import AlreadyExists, HakoError, NotFound, ResourceExhausted
from hakobune.failpoint import reach
from hakobune.layers import decompress
from hakobune.spec.descriptor import Descriptor
from hakobune.spec.mount import Mount

_LEASE_SECONDS = 24 * 3600
_LEASE = "hakod-"  # how the ids of ours begin
_PEEK = 8
_FULL = "no space left on device"
_PAUSES = (0.01, 0.05, 0.2, 0.5, 0)  # seconds between attempts to clean up
SNAPSHOT_LABEL = "containerd.io/gc.ref.snapshot.overlayfs"
_UNCOMPRESSED = "containerd.io/uncompressed"
_EMPTY = (
    "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
)  # a tar archive of nothing


@dataclass(frozen=True, slots=True)
class Layer:
    """A stored and unpacked layer; `diff` is the digest of the uncompressed tar and names its snapshot."""

    blob: Descriptor
    diff: str


@contextlib.asynccontextmanager
async def lease(client: Client) -> AsyncIterator[str]:
    """What is made inside is collected afterwards, but for what has got a name."""
    identity = f"{_LEASE}{secrets.token_hex(8)}"
    expire = rfc3339(time.time_ns() + _LEASE_SECONDS * 1_000_000_000)
    await client.leases.create(identity, {"containerd.io/gc.expire": expire})
    try:
        with client.lease(identity):
            yield identity
    finally:
        await asyncio.shield(_end(client, identity))


async def sweep(client: Client) -> None:
    """Let go of what an engine before us was making when it was killed."""
    for one in await client.leases.list():
        if one.id.startswith(_LEASE):
            await _end(client, one.id)


async def _end(client: Client, identity: str) -> None:
    for pause in _PAUSES:
        try:
            await client.leases.delete(identity, sync=True)
            return
        except NotFound:
            return
        except HakoError:  # its own database may have found no space: what is freed meanwhile makes some
            await asyncio.sleep(pause)


async def add(client: Client, parts: AsyncIterator[bytes]) -> Layer:
    """Store and unpack a base layer; needs a lease around it.

    Raises InvalidArgument when it is no tar archive, ResourceExhausted when the disk is full.
    """
    ref = f"hakod-layer-{secrets.token_hex(8)}"
    kind, parts = await _kind(parts)
    try:
        digest, size = await client.content.write(ref, parts)
    except BaseException:
        await asyncio.shield(_abort(client, ref))
        raise
    blob = Descriptor(kind, digest, size)
    diff = await _unpack(client, blob)
    info = await client.content.info(digest)
    await client.content.update(digest, {**info.labels, _UNCOMPRESSED: diff})
    return Layer(blob, diff)


async def _abort(client: Client, ref: str) -> None:
    """Forget a cut write; the manager's end of its stream may take a moment to notice the cut."""
    for pause in _PAUSES:
        try:
            await client.content.abort(ref)
            return
        except NotFound:
            return
        except HakoError:
            await asyncio.sleep(pause)


async def _kind(parts: AsyncIterator[bytes]) -> tuple[str, AsyncIterator[bytes]]:
    """(media type by the first bytes, the same stream)."""
    start = b""
    async for part in parts:
        start += part
        if len(start) >= _PEEK:
            break

    async def again() -> AsyncIterator[bytes]:
        if start:
            yield start
        async for part in parts:
            yield part

    compression = decompress.detect(start)
    return LAYER if compression == "none" else f"{LAYER}+{compression}", again()


async def _unpack(client: Client, blob: Descriptor, below: str = "") -> str:
    """The digest of the uncompressed tar; a snapshot of it lies on that of the layers `below` now."""
    key = f"extract-{secrets.token_hex(8)}"
    try:
        mounts = await client.snapshots.prepare(key, below)
        diff = (await _apply(client, blob, mounts)).digest
        await client.snapshots.commit(over(below, diff), key)
    except AlreadyExists:
        await asyncio.shield(_remove(client, key))  # somebody's layer was the same
        return diff
    except BaseException:
        await asyncio.shield(_remove(client, key))
        raise
    return diff


async def _apply(client: Client, blob: Descriptor, mounts: Sequence[Mount]) -> Descriptor:
    try:
        return await client.diff.apply(blob, mounts)
    except ResourceExhausted as err:  # clients look for the kernel's words
        text = str(err)
        raise err if _FULL in text else ResourceExhausted(f"{text}: {_FULL}") from None


async def _remove(client: Client, key: str) -> None:
    with contextlib.suppress(HakoError):
        await client.snapshots.remove(key)


async def of_snapshot(client: Client, key: str, below: str) -> Layer | None:
    """What a container's snapshot `key` has changed of `below`, stored and unpacked; None when that is nothing.

    Needs a lease. The manager's diff service makes it. Raises HakoError.
    """
    view = f"{key}-below-{secrets.token_hex(4)}"
    left = await client.snapshots.view(view, below) if below else []
    try:
        right = await client.snapshots.mounts(key)
        ref = f"hakod-layer-{secrets.token_hex(8)}"
        blob = await client.diff.diff(left, right, f"{LAYER}+gzip", ref=ref)
    finally:
        if below:
            await asyncio.shield(_remove(client, view))
    reach("engine.commit.layer")
    diff = (await client.content.info(blob.digest)).labels.get(_UNCOMPRESSED, "")
    if diff in _EMPTY:
        return None
    if diff:
        with contextlib.suppress(NotFound):  # the same change was committed before
            await client.snapshots.stat(over(below, diff))
            return Layer(blob, diff)
    return Layer(blob, await _unpack(client, blob, below))


def over(below: str, diff: str) -> str:
    """The name of the snapshot of a layer on others."""
    return digest_of(f"{below} {diff}".encode()) if below else diff


async def publish(
    client: Client, catalogue: Catalogue, layers: Sequence[Layer], config: dict[str, Any], full: str
) -> Content:
    """Write configuration and manifest of an image of these layers and give it a name ("" for none).

    Needs the lease and the catalogue's lock. `config` is completed with the layers.
    """
    top = chains([layer.diff for layer in layers])[-1]
    await client.content.info(layers[-1].blob.digest)  # still there, though it may have been another image's
    await client.snapshots.stat(top)
    text = document({
        **config, "rootfs": {"type": "layers", "diff_ids": [layer.diff for layer in layers]}
    })  # fmt: skip
    about = await _store(client, CONFIG, text, {SNAPSHOT_LABEL: top})
    text = manifest(about, [layer.blob for layer in layers])
    labels = {"containerd.io/gc.ref.content.config": about.digest}
    labels |= {f"containerd.io/gc.ref.content.l.{n}": one.blob.digest for n, one in enumerate(layers)}
    target = await _store(client, MANIFEST, text, labels)
    reach("engine.commit.manifest")
    content = await catalogue.content(target)
    await catalogue.put(full or f"<none>@{target.digest}", target)
    return content


async def _store(client: Client, kind: str, text: bytes, labels: dict[str, str]) -> Descriptor:
    ref = f"hakod-blob-{secrets.token_hex(8)}"
    digest, size = await client.content.write(ref, text, size=len(text), labels=labels)
    return Descriptor(kind, digest, size)
