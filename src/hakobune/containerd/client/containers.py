"""Client of the containers service: the records that tasks are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.client.connection import Connection, nanoseconds
from hakobune.proto import containers_pb2 as pb

_SERVICE = "containerd.services.containers.v1.Containers"
SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"


@dataclass(frozen=True, slots=True)
class Container:
    """`spec` is the OCI runtime configuration as JSON; times in nanoseconds since the epoch."""

    id: str
    image: str = ""
    runtime: str = ""
    options: tuple[str, bytes] = ("", b"")  # the runtime's: type and encoded message
    spec: bytes = b""
    snapshotter: str = ""
    snapshot_key: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0


class Containers:
    """Raises NotFound for an unknown id, AlreadyExists for a taken one, and what the manager says."""

    def __init__(self, connection: Connection) -> None:
        self._get = connection.brief(_SERVICE, "Get", pb.GetContainerResponse.FromString)
        self._list = connection.unary(_SERVICE, "List", pb.ListContainersResponse.FromString)
        self._create = connection.brief(_SERVICE, "Create", pb.CreateContainerResponse.FromString)
        self._update = connection.brief(_SERVICE, "Update", pb.UpdateContainerResponse.FromString)
        self._delete = connection.brief(_SERVICE, "Delete", Empty.FromString)

    async def create(self, container: Container) -> Container:
        """Record a new one."""
        return _from((await self._create(pb.CreateContainerRequest(container=_to(container)))).container)

    async def get(self, container_id: str) -> Container:
        """By its whole id."""
        return _from((await self._get(pb.GetContainerRequest(id=container_id))).container)

    async def list(self, *filters: str) -> list[Container]:
        """All of the namespace, or those that any filter matches."""
        found = await self._list(pb.ListContainersRequest(filters=filters))
        return [_from(container) for container in found.containers]

    async def update(self, container: Container) -> Container:
        """Change everything but the runtime, which is fixed. Raises InvalidArgument for that."""
        return _from((await self._update(pb.UpdateContainerRequest(container=_to(container)))).container)

    async def delete(self, container_id: str) -> None:
        """Forget the record."""
        await self._delete(pb.DeleteContainerRequest(id=container_id))


def any_of(typed: tuple[str, bytes]) -> Any | None:
    """A message of a type's name; None without one."""
    return Any(type_url=typed[0], value=typed[1]) if typed[0] else None


def _to(container: Container) -> pb.Container:
    return pb.Container(
        id=container.id,
        labels=container.labels,
        image=container.image,
        runtime=pb.Container.Runtime(name=container.runtime, options=any_of(container.options)),
        spec=Any(type_url=SPEC_TYPE, value=container.spec),
        snapshotter=container.snapshotter,
        snapshot_key=container.snapshot_key,
    )


def _from(wire: pb.Container) -> Container:
    return Container(
        wire.id,
        wire.image,
        wire.runtime.name,
        (wire.runtime.options.type_url, wire.runtime.options.value),
        wire.spec.value,
        wire.snapshotter,
        wire.snapshot_key,
        dict(wire.labels),
        nanoseconds(wire.created_at),
        nanoseconds(wire.updated_at),
    )
