"""containerd.services.leases.v1.Leases."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.leases.store import Lease, Leases
from hakobune.containerd.metadata.collector import Collector
from hakobune.containerd.serving import Call, Service
from hakobune.containerd.wire import timestamp
from hakobune.proto import leases_pb2 as pb


def service(leases: Leases, collector: Collector) -> Service:
    """The edge."""

    async def create(request: pb.CreateRequest, call: Call) -> pb.CreateResponse:
        return pb.CreateResponse(lease=_lease(leases.create(call.namespace, request.id, request.labels)))

    async def delete(request: pb.DeleteRequest, call: Call) -> Empty:
        leases.delete(call.namespace, request.id)
        await collector.after_delete(sync=request.sync)
        return Empty()

    async def list_all(request: pb.ListRequest, call: Call) -> pb.ListResponse:
        return pb.ListResponse(
            leases=[_lease(lease) for lease in leases.all(call.namespace, request.filters)]
        )

    async def add(request: pb.AddResourceRequest, call: Call) -> Empty:
        leases.add(call.namespace, request.id, request.resource.type, request.resource.id)
        return Empty()

    async def drop(request: pb.DeleteResourceRequest, call: Call) -> Empty:
        leases.drop(call.namespace, request.id, request.resource.type, request.resource.id)
        collector.soon()
        return Empty()

    async def resources(request: pb.ListResourcesRequest, call: Call) -> pb.ListResourcesResponse:
        found = leases.resources(call.namespace, request.id)
        return pb.ListResourcesResponse(
            resources=[pb.Resource(type=kind, id=resource) for kind, resource in found]
        )

    served = Service("containerd.services.leases.v1.Leases")
    served.unary("Create", pb.CreateRequest, create)
    served.unary("Delete", pb.DeleteRequest, delete)
    served.unary("List", pb.ListRequest, list_all)
    served.unary("AddResource", pb.AddResourceRequest, add)
    served.unary("DeleteResource", pb.DeleteResourceRequest, drop)
    served.unary("ListResources", pb.ListResourcesRequest, resources)
    return served


def _lease(lease: Lease) -> pb.Lease:
    return pb.Lease(id=lease.id, labels=lease.labels, created_at=timestamp(lease.created))
