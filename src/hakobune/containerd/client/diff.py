"""Client of the diff service: layers onto snapshots, and snapshots into layers."""

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
        self._diff = connection.unary(_SERVICE, "Diff", pb.DiffResponse.FromString)
        self._apply = connection.unary(_SERVICE, "Apply", pb.ApplyResponse.FromString)

    async def apply(self, descriptor: Descriptor, mounts: Iterable[Mount]) -> Descriptor:
        """Unpack a layer onto an active snapshot; the descriptor of the uncompressed tar."""
        request = pb.ApplyRequest(diff=descriptor_to(descriptor), mounts=mounts_to(mounts))
        return descriptor_from((await self._apply(request)).applied)

    async def diff(
        self, left: Iterable[Mount], right: Iterable[Mount], media_type: str, *, ref: str
    ) -> Descriptor:
        """What `right` has changed of `left`, as a layer in the content store; held by the lease of the call.

        Its label `containerd.io/uncompressed` is the digest of the tar in it. `ref` names the write.
        """
        request = pb.DiffRequest(left=mounts_to(left), right=mounts_to(right), media_type=media_type, ref=ref)
        return descriptor_from((await self._diff(request)).diff)
