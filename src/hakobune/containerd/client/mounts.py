"""Mounts and descriptors between our data and the wire."""

from __future__ import annotations

from collections.abc import Iterable

from hakobune.proto import types_pb2 as pb
from hakobune.spec.descriptor import Descriptor
from hakobune.spec.mount import Mount


def mounts_from(wire: Iterable[pb.Mount]) -> list[Mount]:
    """As data."""
    return [Mount(mount.type, mount.source, mount.target, tuple(mount.options)) for mount in wire]


def mounts_to(mounts: Iterable[Mount]) -> list[pb.Mount]:
    """As messages."""
    return [pb.Mount(type=m.type, source=m.source, target=m.target, options=m.options) for m in mounts]


def descriptor_from(wire: pb.Descriptor) -> Descriptor:
    """As data."""
    return Descriptor(wire.media_type, wire.digest, wire.size, dict(wire.annotations))


def descriptor_to(descriptor: Descriptor) -> pb.Descriptor:
    """As a message."""
    return pb.Descriptor(
        media_type=descriptor.media_type,
        digest=descriptor.digest,
        size=descriptor.size,
        annotations=dict(descriptor.annotations),
    )
