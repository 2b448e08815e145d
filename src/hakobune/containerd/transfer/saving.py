"""The end of a transfer into the store: layers unpacked for the platforms that were asked for, and names given."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

from hakobune.containerd.transfer.blobs import Blobs
from hakobune.containerd.transfer.deps import Deps
from hakobune.containerd.transfer.tree import Node, Platform
from hakobune.containerd.transfer.unpacking import QUIET, Watch, unpack_image
from hakobune.errors import AlreadyExists
from hakobune.proto import images_pb2, types_pb2
from hakobune.proto import transfer_types_pb2 as pb


async def unpack(
    deps: Deps, blobs: Blobs, store: pb.ImageStore, manifests: Iterable[Node], watch: Watch = QUIET
) -> None:
    """Those of the manifests that are for one of the store's platforms. Raises what `unpack_image` does."""
    found = list(manifests)
    for asked in store.unpacks:
        snapshots = deps.snapshotters.of(asked.snapshotter)
        wanted = Platform.of(asked.platform.os, asked.platform.architecture, asked.platform.variant)
        for manifest in found:
            if not wanted.os or manifest.platform in (None, wanted):
                await unpack_image(blobs, snapshots, deps.leases, manifest, watch)


def save(deps: Deps, namespace: str, name: str, target: types_pb2.Descriptor, store: pb.ImageStore) -> None:
    """Give the name, new or taken from what had it."""
    event: Message
    image = images_pb2.Image(name=name, target=target, labels=store.labels)
    try:
        deps.images.create(namespace, image)
        topic, event = "/images/create", images_pb2.ImageCreate(name=name, labels=store.labels)
    except AlreadyExists:
        deps.images.update(namespace, image, ())
        topic, event = "/images/update", images_pb2.ImageUpdate(name=name, labels=store.labels)
    deps.exchange.publish(namespace, topic, event)
