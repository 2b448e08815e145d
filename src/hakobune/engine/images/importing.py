"""From a root file system's archive to an image of one layer, under a lease, so that a failure leaves nothing.

archive → content → snapshot (the manager unpacks) → configuration and manifest → a name (by the caller); only
then the lease goes. Imports: containerd.client.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

from hakobune.containerd.client import Client
from hakobune.engine.images.model import CONFIG, GC_CONFIG, GC_LAYER, GC_SNAPSHOT, LAYER, MANIFEST
from hakobune.errors import AlreadyExists, HakoError
from hakobune.spec.descriptor import Descriptor

Source = AsyncIterator[bytes]

_MAGIC = ((b"\x1f\x8b", "+gzip"), (b"\x28\xb5\x2f\xfd", "+zstd"))
_leases: dict[str, str] = {}  # manifest digest -> the lease that holds it until it has a name


async def layer(client: Client, source: Source, config: dict[str, Any]) -> Descriptor:
    """The manifest of a new image; `settle` when it has a name. `config` lacks only its rootfs."""
    lease = await client.leases.create(f"hako-import-{secrets.token_hex(8)}")
    try:
        with client.lease(lease):
            target = await _make(client, source, config)
    except BaseException:
        with contextlib.suppress(HakoError):
            await client.leases.delete(lease, sync=True)
        raise
    _leases[target.digest] = lease
    return target


async def settle(client: Client, target: Descriptor) -> None:
    """The image has a name: the lease may go."""
    lease = _leases.pop(target.digest, "")
    if lease:
        await client.leases.delete(lease)


async def _make(client: Client, source: Source, config: dict[str, Any]) -> Descriptor:
    blob, media = await _ingest(client, source)
    key = f"extract-{secrets.token_hex(8)}"
    mounts = await client.snapshots.prepare(key, "")
    try:
        applied = await client.diff.apply(blob, mounts)
        diff_id = applied.digest
        with contextlib.suppress(AlreadyExists):
            await client.snapshots.commit(diff_id, key)
            key = ""
    finally:
        if key:
            with contextlib.suppress(HakoError):
                await client.snapshots.remove(key)
    config["rootfs"] = {"type": "layers", "diff_ids": [diff_id]}
    inner = await _put(client, CONFIG, config, {GC_SNAPSHOT: diff_id})
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _plain(inner),
        "layers": [{"mediaType": media, "digest": blob.digest, "size": blob.size}],
    }
    return await _put(client, MANIFEST, manifest, {GC_CONFIG: inner.digest, f"{GC_LAYER}0": blob.digest})


async def _ingest(client: Client, source: Source) -> tuple[Descriptor, str]:
    """The archive as content, and its media type by its first bytes."""
    start = b""

    async def watched() -> AsyncIterator[bytes]:
        nonlocal start
        async for part in source:
            if len(start) < 8:
                start += part[:8]
            yield part

    digest, size = await client.content.write(f"import-{secrets.token_hex(8)}", watched())
    suffix = next((suffix for magic, suffix in _MAGIC if start.startswith(magic)), "")
    return Descriptor(LAYER + suffix, digest, size), LAYER + suffix


async def _put(client: Client, media: str, document: dict[str, Any], labels: dict[str, str]) -> Descriptor:
    content = json.dumps(document, separators=(",", ":")).encode()
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    found, size = await client.content.write(digest, content, digest=digest, size=len(content), labels=labels)
    return Descriptor(media, found, size)


def _plain(target: Descriptor) -> dict[str, Any]:
    return {"mediaType": target.media_type, "digest": target.digest, "size": target.size}
