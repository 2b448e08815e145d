"""An image archive into the content store: OCI layouts, and what `docker save` writes.

It is read while it comes, and nothing of it is kept but its blobs. What a crash leaves of these is removed at boot:
half of one by the content store, whole ones that have no name by the collector.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hakobune.containerd.transfer import naming, tree
from hakobune.containerd.transfer.arriving import Arriving
from hakobune.containerd.transfer.blobs import LARGEST_DOCUMENT, Blobs, parse
from hakobune.containerd.transfer.early import Early
from hakobune.containerd.transfer.tree import Node, Platform
from hakobune.errors import InvalidArgument, NotFound
from hakobune.layers import decompress
from hakobune.layers.tar import REGULAR, SYMLINK, Entry, Reader
from hakobune.spec import reference

_LAYOUT, _MANIFEST, _INDEX = "oci-layout", "manifest.json", "index.json"
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_PEEK = 8
_MOST_MEMBERS = 100_000  # each is a row and a file of the store


@dataclass
class _Members:
    """What the archive has: documents by name, blobs as (digest, size), links as the name that they stand for."""

    documents: dict[str, Any] = field(default_factory=dict)
    blobs: dict[str, tuple[str, int]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def blob(self, name: str, what: str) -> tuple[str, int]:
        found = self.blobs.get(self.links.get(posixpath.normpath(name), posixpath.normpath(name)))
        if found is None:
            raise InvalidArgument(f"image archive: {what} {name!r} is not in it")
        return found


async def read(blobs: Blobs, sent: AsyncIterator[bytes], early: Early) -> Node:
    """The index of the archive's images; every blob of it is in the store then, held by the lease, or by way of `early`.

    Raises InvalidArgument when it is no image archive, ResourceExhausted when the store's disk is full.
    """
    async with Arriving(sent) as source:
        members = await _members(early, source)
        await source.rest()
    if _LAYOUT in members.documents:
        digest, size = members.blob(_INDEX, "the index of an OCI layout")
        return Node(tree.INDEX, digest, size)
    if _MANIFEST in members.documents:
        return await _docker(blobs, members)
    raise InvalidArgument("unrecognized image format: the archive has neither oci-layout nor manifest.json")


async def _members(early: Early, source: Arriving) -> _Members:
    found = _Members()
    reader = Reader(await source.work(lambda: decompress.chunks(source)))
    entries = iter(reader)
    while (entry := await source.work(lambda: next(entries, None))) is not None:
        name = posixpath.normpath(entry.name)
        if entry.kind == SYMLINK:
            found.links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), entry.link))
        elif entry.kind == REGULAR and name in (_LAYOUT, _MANIFEST):
            found.documents[name] = parse(await _whole(source, reader, entry), name)
        elif entry.kind == REGULAR:
            parts = _parts(source, reader.data())
            found.blobs[name] = await early.put(parts, entry.size, _promised(name))
        if len(found.links) + len(found.blobs) > _MOST_MEMBERS:
            raise InvalidArgument(f"image archive: more than {_MOST_MEMBERS} members")
    return found


def _promised(name: str) -> str:
    """The digest that the name of a member claims; "" for none."""
    claim = _BLOB.fullmatch(name)
    return f"sha256:{claim[1]}" if claim else ""


async def _whole(source: Arriving, reader: Reader, entry: Entry) -> bytes:
    if entry.size > LARGEST_DOCUMENT:
        raise InvalidArgument(f"image archive: {entry.name} has {entry.size} bytes")
    return await source.work(lambda: b"".join(reader.data()))


async def _parts(source: Arriving, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while part := await source.work(lambda: next(chunks, b"")):
        yield part


async def _docker(blobs: Blobs, members: _Members) -> Node:
    """Manifests and an index for an archive that has none."""
    listed: list[Node] = []
    for image in _images(members.documents[_MANIFEST]):
        config = Node(tree.DOCKER_CONFIG, *members.blob(str(image.get("Config")), "configuration"))
        layers = [_layer(blobs, *members.blob(str(name), "layer")) for name in image.get("Layers") or ()]
        document = {
            "schemaVersion": 2,
            "mediaType": tree.DOCKER_MANIFEST,
            "config": config.document(),
            "layers": [layer.document() for layer in layers],
        }
        manifest = Node(
            tree.DOCKER_MANIFEST, *await blobs.put_document(document), {},
            _platform(blobs.document(config.digest)),
        )  # fmt: skip
        listed += _named(manifest, image.get("RepoTags") or ())
    digest, size = await blobs.put_document(
        {"schemaVersion": 2, "mediaType": tree.INDEX, "manifests": [one.document() for one in listed]}
    )
    return Node(tree.INDEX, digest, size)


def _images(document: Any) -> list[dict[str, Any]]:
    if not isinstance(document, list) or not all(isinstance(image, dict) for image in document):
        raise InvalidArgument("image archive: manifest.json is not a list of images")
    return document


def _layer(blobs: Blobs, digest: str, size: int) -> Node:
    compressed = decompress.detect(blobs.start(digest, _PEEK)) != "none"
    return Node(tree.DOCKER_LAYER_GZIP if compressed else tree.DOCKER_LAYER, digest, size)


def _platform(config: Any) -> Platform | None:
    if not isinstance(config, Mapping) or not config.get("os") or not config.get("architecture"):
        return None
    return Platform.of(str(config["os"]), str(config["architecture"]), str(config.get("variant") or ""))


def _named(manifest: Node, tags: Any) -> list[Node]:
    full = [str(reference.parse(str(tag)).whole()) for tag in tags]
    return [
        Node(
            manifest.media_type, manifest.digest, manifest.size, naming.annotated(name, {}), manifest.platform
        )
        for name in full
    ] or [manifest]


def walk(blobs: Blobs, top: Node, platforms: list[Platform]) -> Iterator[tuple[Node, list[Node]]]:
    """Each index and manifest under `top` with its children, for the platforms; holds children by labels.

    Raises NotFound for content that is not there.
    """
    todo = [top]
    while todo:
        here = todo.pop(0)
        if not (here.is_index or here.is_manifest):
            continue
        found = tree.children(blobs.document(here.digest))
        wanted = tree.chosen(found, platforms) if here.is_index else found
        if here.is_manifest:
            for child in wanted:
                if not blobs.has(child.digest):
                    raise NotFound(f"content {child.digest} of manifest {here.digest}: not found")
        blobs.label(here.digest, tree.labels(here, wanted))
        yield here, wanted
        todo += wanted
