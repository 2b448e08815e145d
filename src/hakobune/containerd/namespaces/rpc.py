"""containerd.services.namespaces.v1.Namespaces."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.events.exchange import Exchange
from hakobune.containerd.namespaces.store import Namespaces
from hakobune.containerd.serving import Call, Service
from hakobune.proto import event_types_pb2 as events
from hakobune.proto import namespaces_pb2 as pb


def service(namespaces: Namespaces, exchange: Exchange) -> Service:
    """The edge."""

    async def get(request: pb.GetNamespaceRequest, _call: Call) -> pb.GetNamespaceResponse:
        labels = namespaces.get(request.name)
        return pb.GetNamespaceResponse(namespace=pb.Namespace(name=request.name, labels=labels))

    async def list_all(_request: pb.ListNamespacesRequest, _call: Call) -> pb.ListNamespacesResponse:
        found = [pb.Namespace(name=name, labels=labels) for name, labels in namespaces.all().items()]
        return pb.ListNamespacesResponse(namespaces=found)

    async def create(request: pb.CreateNamespaceRequest, _call: Call) -> pb.CreateNamespaceResponse:
        made = request.namespace
        namespaces.create(made.name, made.labels)
        event = events.NamespaceCreate(name=made.name, labels=made.labels)
        exchange.publish(made.name, "/namespaces/create", event)
        return pb.CreateNamespaceResponse(namespace=made)

    async def update(request: pb.UpdateNamespaceRequest, _call: Call) -> pb.UpdateNamespaceResponse:
        wanted = request.namespace
        labels = namespaces.update(wanted.name, wanted.labels, request.update_mask.paths)
        event = events.NamespaceUpdate(name=wanted.name, labels=labels)
        exchange.publish(wanted.name, "/namespaces/update", event)
        return pb.UpdateNamespaceResponse(namespace=pb.Namespace(name=wanted.name, labels=labels))

    async def delete(request: pb.DeleteNamespaceRequest, _call: Call) -> Empty:
        namespaces.delete(request.name)
        exchange.publish(request.name, "/namespaces/delete", events.NamespaceDelete(name=request.name))
        return Empty()

    served = Service("containerd.services.namespaces.v1.Namespaces", namespaced=False)
    served.unary("Get", pb.GetNamespaceRequest, get)
    served.unary("List", pb.ListNamespacesRequest, list_all)
    served.unary("Create", pb.CreateNamespaceRequest, create)
    served.unary("Update", pb.UpdateNamespaceRequest, update)
    served.unary("Delete", pb.DeleteNamespaceRequest, delete)
    return served
