"""Client of the leases service: what keeps new objects from the garbage collector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.client.connection import Connection, nanoseconds
from hakobune.proto import leases_pb2 as pb

_SERVICE = "containerd.services.leases.v1.Leases"


@dataclass(frozen=True, slots=True)
class Lease:
    """`created_at` in nanoseconds since the epoch."""

    id: str
    created_at: int
    labels: Mapping[str, str]


class Leases:
    """Raises NotFound for an unknown lease, AlreadyExists for a taken id, and what the manager says."""

    def __init__(self, connection: Connection) -> None:
        self._create = connection.unary(_SERVICE, "Create", pb.CreateResponse.FromString)
        self._delete = connection.unary(_SERVICE, "Delete", Empty.FromString)
        self._list = connection.unary(_SERVICE, "List", pb.ListResponse.FromString)
        self._resources = connection.unary(_SERVICE, "ListResources", pb.ListResourcesResponse.FromString)

    async def create(self, lease_id: str, labels: Mapping[str, str] | None = None) -> str:
        """Its id. The label `containerd.io/gc.expire` (RFC 3339) lets it end by itself."""
        return str((await self._create(pb.CreateRequest(id=lease_id, labels=labels))).lease.id)

    async def delete(self, lease_id: str, sync: bool = False) -> None:
        """Let go of what it held; with `sync`, return after the collection."""
        await self._delete(pb.DeleteRequest(id=lease_id, sync=sync))

    async def list(self, *filters: str) -> list[Lease]:
        """All of the namespace."""
        found = await self._list(pb.ListRequest(filters=filters))
        return [Lease(lease.id, nanoseconds(lease.created_at), dict(lease.labels)) for lease in found.leases]

    async def resources(self, lease_id: str) -> set[tuple[str, str]]:
        """What it holds: (kind, as `content` or `snapshots/overlayfs`; name)."""
        found = await self._resources(pb.ListResourcesRequest(id=lease_id))
        return {(one.type, one.id) for one in found.resources}
