"""What an archive has for other machines only, which Docker takes, too, when nobody names a platform.

The transfer that asks for this machine's has brought every blob, and the caller's lease holds them. An image that it left
is transferred once more, out of an archive that has nothing but an index, for the platforms that it is here for.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hakobune.containerd.client import Client
from hakobune.containerd.client.transfer import Platform
from hakobune.engine.images.catalogue import Catalogue
from hakobune.engine.images.model import document, host_platform
from hakobune.errors import NotFound
from hakobune.registry.repository import DOCKER_LIST, INDEX
from hakobune.spec.descriptor import Descriptor

_NAME = "io.containerd.image.name"
_LARGEST = 1 << 20  # bytes of a document
_UNKNOWN = "unknown"  # the system and architecture of what tells of an image and is none


@dataclass(frozen=True, slots=True)
class Left:
    """An image of the archive, as its index lists it, and what it is here for."""

    entry: Mapping[str, Any]
    platforms: tuple[Platform, ...]

    async def archive(self) -> AsyncIterator[bytes]:
        """The index alone."""
        out = io.BytesIO()
        members = {
            "oci-layout": {"imageLayoutVersion": "1.0.0"},
            "index.json": {"schemaVersion": 2, "mediaType": INDEX, "manifests": [self.entry]},
        }
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, content in members.items():
                data = document(content)
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        yield out.getvalue()


async def index_of(client: Client, lease: str) -> dict[str, Any] | None:
    """The index of the archive that a transfer has brought under `lease`: the one that no other lists."""
    found: dict[str, dict[str, Any]] = {}
    held = {digest for kind, digest in await client.leases.resources(lease) if kind == "content"}
    for digest in held:
        if (await client.content.info(digest)).size <= _LARGEST:
            listed = _index(await client.content.read_all(digest))
            if listed is not None:
                found[digest] = listed
    below = {str(one.get("digest")) for listed in found.values() for one in listed["manifests"]}
    return next((listed for digest, listed in found.items() if digest not in below), None)


def _index(data: bytes) -> dict[str, Any] | None:
    if not data.startswith(b"{"):
        return None
    try:
        read = json.loads(data)
    except ValueError:
        return None
    listed = read.get("manifests")
    whole = isinstance(listed, list) and all(isinstance(one, dict) for one in listed)
    return read if whole else None


async def left(
    catalogue: Catalogue, index: Mapping[str, Any], names: Collection[str], done: bool
) -> list[Left]:
    """What of the archive's images has not come yet.

    `names` are those that were given; with `done` an image that is here for this machine has come. Raises NotFound
    for one that is not whole for any platform.
    """
    found = []
    for entry in index["manifests"]:
        platforms = await _platforms(catalogue, entry)
        ours = [one for one in platforms if (one.os, one.architecture) == ("linux", host_platform()[0])]
        if entry.get("annotations", {}).get(_NAME) in names and (ours or not _lists(entry)):
            continue
        if done and ours:
            continue
        if not platforms:
            raise NotFound(f"content of {entry.get('digest')}: not found")
        found.append(Left(entry, tuple(ours or platforms)))
    return found


def _lists(entry: Mapping[str, Any]) -> bool:
    return entry.get("mediaType") in (INDEX, DOCKER_LIST)


async def _platforms(catalogue: Catalogue, entry: Mapping[str, Any]) -> list[Platform]:
    """What an image that an archive lists is here for, whole."""
    target = Descriptor(str(entry["mediaType"]), str(entry["digest"]), int(entry["size"]))
    if _lists(entry):
        return [Platform(*one) for one in await catalogue.platforms(target) if one[0] != _UNKNOWN]
    place = await catalogue.platform_of(target)
    return [Platform(*place)] if place else []
