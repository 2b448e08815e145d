"""Client of the namespaces service: the manager's tenants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.client.connection import Connection
from hakobune.proto import namespaces_pb2 as pb

_SERVICE = "containerd.services.namespaces.v1.Namespaces"


@dataclass(frozen=True, slots=True)
class Namespace:
    """A name and its labels."""

    name: str
    labels: Mapping[str, str]


class Namespaces:
    """Raises NotFound, AlreadyExists; FailedPrecondition when one that is not empty is to be deleted."""

    def __init__(self, connection: Connection) -> None:
        self._get = connection.unary(_SERVICE, "Get", pb.GetNamespaceResponse.FromString)
        self._list = connection.unary(_SERVICE, "List", pb.ListNamespacesResponse.FromString)
        self._create = connection.unary(_SERVICE, "Create", pb.CreateNamespaceResponse.FromString)
        self._delete = connection.unary(_SERVICE, "Delete", Empty.FromString)

    async def get(self, name: str) -> Namespace:
        """By name."""
        found = (await self._get(pb.GetNamespaceRequest(name=name))).namespace
        return Namespace(found.name, dict(found.labels))

    async def list(self) -> list[Namespace]:
        """All of the manager."""
        found = await self._list(pb.ListNamespacesRequest())
        return [Namespace(entry.name, dict(entry.labels)) for entry in found.namespaces]

    async def create(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """A new one."""
        await self._create(pb.CreateNamespaceRequest(namespace=pb.Namespace(name=name, labels=labels)))

    async def delete(self, name: str) -> None:
        """An empty one."""
        await self._delete(pb.DeleteNamespaceRequest(name=name))
