"""Images as one archive: an OCI layout, with `manifest.json` beside it for those who read Docker's."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from hakobune.containerd.transfer import naming, tree
from hakobune.containerd.transfer.blobs import Blobs
from hakobune.containerd.transfer.tree import Node, Platform
from hakobune.errors import InvalidArgument, NotFound
from hakobune.spec import reference

_BLOCK = 512
_NON_DISTRIBUTABLE = (".nondistributable.", ".foreign.")
Write = Callable[[bytes], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """No platforms: all. `docker`: with manifest.json."""

    platforms: tuple[Platform, ...] = ()
    docker: bool = True
    distributable_only: bool = False


@dataclass
class _Plan:
    """What goes into the archive, found before its first byte is written."""

    blobs: dict[str, Node] = field(default_factory=dict)
    index: list[Node] = field(default_factory=list)
    docker: dict[str, tuple[Node, list[str]]] = field(default_factory=dict)  # by digest: manifest, names


def _plan(blobs: Blobs, images: Iterable[tuple[str, Node]], wanted: Wanted) -> _Plan:
    plan = _Plan()
    for name, top in images:
        if not (top.is_index or top.is_manifest):
            raise InvalidArgument(f"image {name}: only manifests may be exported, not {top.media_type}")
        manifests = _gather(blobs, plan, top, wanted)
        if top.is_index and wanted.platforms and not manifests:
            raise NotFound(f"image {name}: no manifest for the platform: not found")
        plan.index.append(replace(top, annotations=naming.annotated(name, top.annotations)))
        if manifests:
            best = manifests[0]
            plan.docker.setdefault(best.digest, (best, []))[1].append(name)
    return plan


def _gather(blobs: Blobs, plan: _Plan, here: Node, wanted: Wanted) -> list[Node]:
    """Put everything under `here` into the plan; its manifests."""
    if wanted.distributable_only and any(part in here.media_type for part in _NON_DISTRIBUTABLE):
        return []
    plan.blobs[here.digest] = here
    if not (here.is_index or here.is_manifest):
        return []
    found = tree.children(blobs.document(here.digest))
    below = [
        manifest
        for child in (tree.chosen(found, wanted.platforms) if here.is_index else found)
        for manifest in _gather(blobs, plan, child, wanted)
    ]
    return [here] if here.is_manifest else below


async def write(blobs: Blobs, images: Iterable[tuple[str, Node]], wanted: Wanted, out: Write) -> None:
    """Write the archive of the named images.

    Raises NotFound before the first byte when content is not there, InvalidArgument, and what `out` raises.
    """
    plan = _plan(blobs, images, wanted)
    sizes = {digest: blobs.size(digest) for digest in plan.blobs}
    for directory in ("blobs/", "blobs/sha256/"):
        await out(_header(directory, 0))
    for digest in sorted(plan.blobs):
        await out(_header(_place(digest), sizes[digest]))
        async for part in blobs.read(digest):
            await out(part)
        await out(bytes(-sizes[digest] % _BLOCK))
    documents: dict[str, Any] = {
        "index.json": {
            "schemaVersion": 2,
            "mediaType": tree.INDEX,
            "manifests": [node.document() for node in plan.index],
        },
        "oci-layout": {"imageLayoutVersion": "1.0.0"},
    }
    if wanted.docker and plan.docker:
        documents["manifest.json"] = [_docker(blobs, *found) for found in plan.docker.values()]
    for name, document in sorted(documents.items()):
        data = json.dumps(document, separators=(",", ":")).encode()
        await out(_header(name, len(data)) + data + bytes(-len(data) % _BLOCK))
    await out(bytes(2 * _BLOCK))


def _docker(blobs: Blobs, manifest: Node, names: list[str]) -> dict[str, Any]:
    config, *layers = tree.children(blobs.document(manifest.digest))
    return {
        "Config": _place(config.digest),
        "RepoTags": [tag for name in names if (tag := _familiar(name))],
        "Layers": [_place(layer.digest) for layer in layers],
    }


def _familiar(name: str) -> str:
    """As `docker images` shows it; "" for what has no tag, and for what is no name of Docker's."""
    try:
        found = reference.parse(name)
    except InvalidArgument:
        return ""
    return found.familiar if found.tag else ""


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/', 1)}"


def _header(name: str, size: int) -> bytes:
    """Of a file, or of a directory when the name ends with a slash; always the same bytes."""
    member = tarfile.TarInfo(name)
    directory = name.endswith("/")
    member.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
    member.mode, member.size = (0o755, 0) if directory else (0o444, size)
    return member.tobuf(tarfile.USTAR_FORMAT if size < 8 << 30 else tarfile.GNU_FORMAT)
