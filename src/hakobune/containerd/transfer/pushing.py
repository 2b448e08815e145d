"""An image of the store into a registry: what manifests refer to before the manifests, the name last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from hakobune.containerd.transfer import tree
from hakobune.containerd.transfer.blobs import Blobs
from hakobune.containerd.transfer.deps import Deps, Tell
from hakobune.containerd.transfer.pulling import SOURCE
from hakobune.containerd.transfer.together import AT_ONCE, first, in_turn
from hakobune.containerd.transfer.tracking import COMPLETE, EXISTS, UPLOADING, Tracker
from hakobune.containerd.transfer.tree import Node, Platform
from hakobune.errors import InvalidArgument, NotFound
from hakobune.proto import transfer_types_pb2 as pb
from hakobune.registry.remote import open_repository
from hakobune.registry.repository import Access, Repository
from hakobune.spec.descriptor import Descriptor
from hakobune.spec.reference import Reference


@dataclass
class _Plan:
    """What is to be sent: blobs in any order, manifests each after those that it lists."""

    blobs: dict[str, Node] = field(default_factory=dict)
    manifests: dict[str, Node] = field(default_factory=dict)


async def push(
    deps: Deps, blobs: Blobs, name: Reference, access: Access, store: pb.ImageStore, tell: Tell
) -> None:
    """Send the image `store.name` to `name`. Raises what the registry does, NotFound for content that is not here.

    Cancelled, or failed: blobs may be there, the name is not.
    """
    where = f"OCI Registry ({name})"
    target = deps.images.get(blobs.namespace, store.name).target
    top = tree.from_message(target)
    await tell(f"Pushing to {where}", "", None)
    await tell("pushing content", store.name, top)
    plan = _plan(blobs, top, tree.platforms_of(store.platforms))
    async with open_repository(name, access) as repository, Tracker(tell, store.name) as tracker:
        for node in [*plan.blobs.values(), *plan.manifests.values()]:
            tracker.add(node)
        await _blobs(blobs, repository, name, plan, tracker)
        for node in plan.manifests.values():
            label = (name.tag or node.digest) if node is top else node.digest
            await _manifest(blobs, repository, label, node, tracker)
    await tell("pushed content", store.name, top)
    await tell(f"Completed push to {where}", "", top)


def _plan(blobs: Blobs, top: Node, platforms: list[Platform]) -> _Plan:
    if not (top.is_index or top.is_manifest):
        raise InvalidArgument(f"only manifests may be pushed, not {top.media_type}")
    plan = _Plan()
    _gather(blobs, plan, top, platforms)
    return plan


def _gather(blobs: Blobs, plan: _Plan, here: Node, platforms: list[Platform]) -> None:
    if not blobs.has(here.digest):
        raise NotFound(f"content {here.digest}: not found")
    if not (here.is_index or here.is_manifest):
        plan.blobs[here.digest] = here
        return
    found = tree.children(blobs.document(here.digest))
    for child in tree.chosen(found, platforms) if here.is_index else found:
        if not child.is_foreign:
            _gather(blobs, plan, child, platforms)
    plan.manifests[here.digest] = here


async def _blobs(
    blobs: Blobs, repository: Repository, name: Reference, plan: _Plan, tracker: Tracker
) -> None:
    turns = asyncio.Semaphore(AT_ONCE)
    try:
        async with asyncio.TaskGroup() as group:
            for node in plan.blobs.values():
                group.create_task(in_turn(turns, _blob(blobs, repository, name, node, tracker)))
    except BaseExceptionGroup as several:
        raise first(several) from None


async def _blob(blobs: Blobs, repository: Repository, name: Reference, node: Node, tracker: Tracker) -> None:
    async def read(offset: int) -> AsyncIterator[bytes]:
        tracker.said(node, UPLOADING, offset)
        at = offset
        async for part in blobs.read(node.digest, offset):
            yield part
            at += len(part)
            tracker.said(node, UPLOADING, at)

    key = SOURCE + name.domain
    paths = [path for path in blobs.labels(node.digest).get(key, "").split(",") if path and path != name.path]
    done = await repository.push_blob(_descriptor(node), read, paths)
    tracker.said(node, {"pushed": COMPLETE, "exists": EXISTS}.get(done, f"mounted from {done}"))
    blobs.label(node.digest, {key: ",".join(sorted({*paths, name.path}))})


async def _manifest(blobs: Blobs, repository: Repository, label: str, node: Node, tracker: Tracker) -> None:
    new = await repository.push_manifest(label, _descriptor(node), blobs.whole(node.digest))
    tracker.said(node, COMPLETE if new else EXISTS)


def _descriptor(node: Node) -> Descriptor:
    return Descriptor(node.media_type, node.digest, node.size)
