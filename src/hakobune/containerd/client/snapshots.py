"""Client of the snapshots service: file systems that are written to, and those that are parents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask

from hakobune.containerd.client.connection import Connection, nanoseconds
from hakobune.containerd.client.mounts import mounts_from
from hakobune.proto import snapshots_pb2 as pb
from hakobune.spec.mount import Mount

_SERVICE = "containerd.services.snapshots.v1.Snapshots"
OVERLAYFS = "overlayfs"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`kind` is "active", "view" or "committed"; `created_at` in nanoseconds since the epoch."""

    name: str
    parent: str
    kind: str
    labels: Mapping[str, str]
    created_at: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a snapshot itself takes on the disk, its parents not counted: bytes and inodes."""

    size: int
    inodes: int


class Snapshots:
    """Raises NotFound for an unknown key or parent, AlreadyExists for a taken one, and what the manager says.

    A snapshot lives while a container, a child, a lease or the label `containerd.io/gc.root` keeps it.
    """

    def __init__(self, connection: Connection) -> None:
        self._prepare = connection.brief(_SERVICE, "Prepare", pb.PrepareSnapshotResponse.FromString)
        self._view = connection.brief(_SERVICE, "View", pb.ViewSnapshotResponse.FromString)
        self._mounts = connection.brief(_SERVICE, "Mounts", pb.MountsResponse.FromString)
        self._commit = connection.unary(_SERVICE, "Commit", Empty.FromString)
        self._remove = connection.brief(_SERVICE, "Remove", Empty.FromString)
        self._stat = connection.brief(_SERVICE, "Stat", pb.StatSnapshotResponse.FromString)
        self._update = connection.unary(_SERVICE, "Update", pb.UpdateSnapshotResponse.FromString)
        self._usage = connection.unary(_SERVICE, "Usage", pb.UsageResponse.FromString)
        self._list = connection.stream(_SERVICE, "List", pb.ListSnapshotsResponse.FromString)

    async def prepare(
        self, key: str, parent: str, labels: Mapping[str, str] | None = None, *, snapshotter: str = OVERLAYFS
    ) -> list[Mount]:
        """A new writable snapshot on top of a committed one ("" for none)."""
        request = pb.PrepareSnapshotRequest(snapshotter=snapshotter, key=key, parent=parent, labels=labels)
        return mounts_from((await self._prepare(request)).mounts)

    async def view(
        self, key: str, parent: str, labels: Mapping[str, str] | None = None, *, snapshotter: str = OVERLAYFS
    ) -> list[Mount]:
        """A new read-only snapshot of a committed one."""
        request = pb.ViewSnapshotRequest(snapshotter=snapshotter, key=key, parent=parent, labels=labels)
        return mounts_from((await self._view(request)).mounts)

    async def mounts(self, key: str, *, snapshotter: str = OVERLAYFS) -> list[Mount]:
        """The mounts of an active snapshot or a view."""
        return mounts_from((await self._mounts(pb.MountsRequest(snapshotter=snapshotter, key=key))).mounts)

    async def commit(
        self, name: str, key: str, labels: Mapping[str, str] | None = None, *,
        onto: str = "", snapshotter: str = OVERLAYFS,
    ) -> None:  # fmt: skip
        """Turn the active snapshot `key` into the committed `name`; one without a parent may get one, where that works."""
        await self._commit(
            pb.CommitSnapshotRequest(snapshotter=snapshotter, name=name, key=key, labels=labels, parent=onto)
        )

    async def remove(self, key: str, *, snapshotter: str = OVERLAYFS) -> None:
        """Delete it. Raises FailedPrecondition when it has children."""
        await self._remove(pb.RemoveSnapshotRequest(snapshotter=snapshotter, key=key))

    async def stat(self, key: str, *, snapshotter: str = OVERLAYFS) -> Snapshot:
        """What is known of it."""
        return _from((await self._stat(pb.StatSnapshotRequest(snapshotter=snapshotter, key=key))).info)

    async def update(self, key: str, labels: Mapping[str, str], *, snapshotter: str = OVERLAYFS) -> Snapshot:
        """Put all labels in the place of the old ones."""
        request = pb.UpdateSnapshotRequest(
            snapshotter=snapshotter,
            info=pb.Info(name=key, labels=labels),
            update_mask=FieldMask(paths=["labels"]),
        )
        return _from((await self._update(request)).info)

    async def list(self, *filters: str, snapshotter: str = OVERLAYFS) -> list[Snapshot]:
        """All snapshots of the namespace."""
        request = pb.ListSnapshotsRequest(snapshotter=snapshotter, filters=filters)
        return [_from(info) async for part in self._list(request) for info in part.info]

    async def usage(self, key: str, *, snapshotter: str = OVERLAYFS) -> Usage:
        """Counted now for an active snapshot, as recorded at the commit otherwise."""
        found = await self._usage(pb.UsageRequest(snapshotter=snapshotter, key=key))
        return Usage(found.size, found.inodes)


def _from(info: pb.Info) -> Snapshot:
    kind = pb.Kind.Name(info.kind).lower()
    return Snapshot(info.name, info.parent, kind, dict(info.labels), nanoseconds(info.created_at))
