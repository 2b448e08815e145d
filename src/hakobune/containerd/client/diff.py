"""Client of the diff service: layers onto snapshots."""

from __future__ import annotations

from collections.abc import Iterable

from hakobune.containerd.client.connection import Connection
from hakobune.containerd.client.mounts import descriptor_from, descriptor_to, mounts_to
from hakobune.proto import diff_pb2 as pb
from hakobune.spec.descriptor import Descriptor
from hakobune.spec.mount import Mount

_SERVICE = "containerd.services.diff.v1.Diff"


class Diff:
    """Raises NotFound for missing content, InvalidArgument for a layer that is none."""

    def __init__(self, connection: Connection) -> None:
        self._apply = connection.unary(_SERVICE, "Apply", pb.ApplyResponse.FromString)

    async def apply(self, descriptor: Descriptor, mounts: Iterable[Mount]) -> Descriptor:
        """Unpack a layer onto an active snapshot; the descriptor of the uncompressed tar."""
        request = pb.ApplyRequest(diff=descriptor_to(descriptor), mounts=mounts_to(mounts))
        return descriptor_from((await self._apply(request)).applied)
