"""containerd.services.snapshots.v1.Snapshots: each request names its snapshotter."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.events.exchange import Exchange
from hakobune.containerd.serving import Call, Service
from hakobune.containerd.snapshots.snapshotter import ACTIVE, COMMITTED, VIEW, Snapshot, Snapshotters
from hakobune.containerd.wire import mounts_to, timestamp
from hakobune.proto import event_types_pb2 as events
from hakobune.proto import snapshots_pb2 as pb
from hakobune.spec.mount import Mount

_PAGE = 100
_KINDS = {VIEW: pb.VIEW, ACTIVE: pb.ACTIVE, COMMITTED: pb.COMMITTED}


def service(snapshotters: Snapshotters, exchange: Exchange) -> Service:
    """The edge."""

    async def prepare(request: pb.PrepareSnapshotRequest, call: Call) -> pb.PrepareSnapshotResponse:
        return pb.PrepareSnapshotResponse(mounts=mounts_to(await make(request, call, ACTIVE)))

    async def view(request: pb.ViewSnapshotRequest, call: Call) -> pb.ViewSnapshotResponse:
        return pb.ViewSnapshotResponse(mounts=mounts_to(await make(request, call, VIEW)))

    async def make(
        request: pb.PrepareSnapshotRequest | pb.ViewSnapshotRequest, call: Call, kind: int
    ) -> tuple[Mount, ...]:
        snapshots = snapshotters.of(request.snapshotter)
        made = await snapshots.make(
            call.namespace, request.key, request.parent, request.labels, kind=kind, lease=call.lease
        )
        event = events.SnapshotPrepare(key=request.key, parent=request.parent, snapshotter=snapshots.name)
        exchange.publish(call.namespace, "/snapshot/prepare", event)
        return made

    async def mounts(request: pb.MountsRequest, call: Call) -> pb.MountsResponse:
        snapshots = snapshotters.of(request.snapshotter)
        return pb.MountsResponse(mounts=mounts_to(snapshots.mounts(call.namespace, request.key)))

    async def commit(request: pb.CommitSnapshotRequest, call: Call) -> Empty:
        snapshots = snapshotters.of(request.snapshotter)
        await snapshots.commit(
            call.namespace, request.name, request.key, request.labels, lease=call.lease, onto=request.parent
        )
        event = events.SnapshotCommit(key=request.key, name=request.name, snapshotter=snapshots.name)
        exchange.publish(call.namespace, "/snapshot/commit", event)
        return Empty()

    async def remove(request: pb.RemoveSnapshotRequest, call: Call) -> Empty:
        snapshots = snapshotters.of(request.snapshotter)
        snapshots.remove(call.namespace, request.key)
        event = events.SnapshotRemove(key=request.key, snapshotter=snapshots.name)
        exchange.publish(call.namespace, "/snapshot/remove", event)
        return Empty()

    async def stat(request: pb.StatSnapshotRequest, call: Call) -> pb.StatSnapshotResponse:
        snapshots = snapshotters.of(request.snapshotter)
        return pb.StatSnapshotResponse(info=_info(snapshots.stat(call.namespace, request.key)))

    async def update(request: pb.UpdateSnapshotRequest, call: Call) -> pb.UpdateSnapshotResponse:
        snapshots = snapshotters.of(request.snapshotter)
        found = snapshots.update(
            call.namespace, request.info.name, request.info.labels, request.update_mask.paths
        )
        return pb.UpdateSnapshotResponse(info=_info(found))

    async def list_all(
        request: pb.ListSnapshotsRequest, call: Call
    ) -> AsyncIterator[pb.ListSnapshotsResponse]:
        snapshots = snapshotters.of(request.snapshotter)
        found = snapshots.all(call.namespace, request.filters)
        for at in range(0, len(found), _PAGE):
            yield pb.ListSnapshotsResponse(info=[_info(one) for one in found[at : at + _PAGE]])

    async def usage(request: pb.UsageRequest, call: Call) -> pb.UsageResponse:
        snapshots = snapshotters.of(request.snapshotter)
        size, inodes = await snapshots.usage(call.namespace, request.key)
        return pb.UsageResponse(size=size, inodes=inodes)

    async def cleanup(request: pb.CleanupRequest, _call: Call) -> Empty:
        await snapshotters.of(request.snapshotter).settle()
        return Empty()

    served = Service("containerd.services.snapshots.v1.Snapshots")
    served.unary("Prepare", pb.PrepareSnapshotRequest, prepare)
    served.unary("View", pb.ViewSnapshotRequest, view)
    served.unary("Mounts", pb.MountsRequest, mounts)
    served.unary("Commit", pb.CommitSnapshotRequest, commit)
    served.unary("Remove", pb.RemoveSnapshotRequest, remove)
    served.unary("Stat", pb.StatSnapshotRequest, stat)
    served.unary("Update", pb.UpdateSnapshotRequest, update)
    served.stream("List", pb.ListSnapshotsRequest, list_all)
    served.unary("Usage", pb.UsageRequest, usage)
    served.unary("Cleanup", pb.CleanupRequest, cleanup)
    return served


def _info(found: Snapshot) -> pb.Info:
    return pb.Info(
        name=found.name, parent=found.parent, kind=_KINDS[found.kind], labels=found.labels,
        created_at=timestamp(found.created), updated_at=timestamp(found.updated),
    )  # fmt: skip
