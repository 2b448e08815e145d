"""containerd.services.containers.v1.Containers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.containers.store import Containers
from hakobune.containerd.events.exchange import Exchange
from hakobune.containerd.serving import Call, Service
from hakobune.proto import containers_pb2 as pb
from hakobune.proto import event_types_pb2 as events


def service(containers: Containers, exchange: Exchange, collect: Callable[[], None]) -> Service:
    """The edge; `collect` is told when something may have become unreferenced."""

    async def get(request: pb.GetContainerRequest, call: Call) -> pb.GetContainerResponse:
        return pb.GetContainerResponse(container=containers.get(call.namespace, request.id))

    async def list_all(request: pb.ListContainersRequest, call: Call) -> pb.ListContainersResponse:
        found = containers.all(call.namespace, request.filters)
        return pb.ListContainersResponse(containers=found)

    async def stream(request: pb.ListContainersRequest, call: Call) -> AsyncIterator[pb.ListContainerMessage]:
        for container in containers.all(call.namespace, request.filters):
            yield pb.ListContainerMessage(container=container)

    async def create(request: pb.CreateContainerRequest, call: Call) -> pb.CreateContainerResponse:
        made = containers.create(call.namespace, request.container)
        runtime = events.ContainerCreate.Runtime(name=made.runtime.name, options=made.runtime.options)
        event = events.ContainerCreate(id=made.id, image=made.image, runtime=runtime)
        exchange.publish(call.namespace, "/containers/create", event)
        return pb.CreateContainerResponse(container=made)

    async def update(request: pb.UpdateContainerRequest, call: Call) -> pb.UpdateContainerResponse:
        made = containers.update(call.namespace, request.container, request.update_mask.paths)
        event = events.ContainerUpdate(
            id=made.id, image=made.image, labels=made.labels, snapshot_key=made.snapshot_key
        )
        exchange.publish(call.namespace, "/containers/update", event)
        collect()
        return pb.UpdateContainerResponse(container=made)

    async def delete(request: pb.DeleteContainerRequest, call: Call) -> Empty:
        containers.delete(call.namespace, request.id)
        exchange.publish(call.namespace, "/containers/delete", events.ContainerDelete(id=request.id))
        collect()
        return Empty()

    served = Service("containerd.services.containers.v1.Containers")
    served.unary("Get", pb.GetContainerRequest, get)
    served.unary("List", pb.ListContainersRequest, list_all)
    served.stream("ListStream", pb.ListContainersRequest, stream)
    served.unary("Create", pb.CreateContainerRequest, create)
    served.unary("Update", pb.UpdateContainerRequest, update)
    served.unary("Delete", pb.DeleteContainerRequest, delete)
    return served
