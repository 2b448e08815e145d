"""containerd.services.images.v1.Images."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.events.exchange import Exchange
from hakobune.containerd.images.store import Images
from hakobune.containerd.metadata.collector import Collector
from hakobune.containerd.serving import Call, Service
from hakobune.proto import images_pb2 as pb


def service(images: Images, exchange: Exchange, collector: Collector) -> Service:
    """The edge."""

    async def get(request: pb.GetImageRequest, call: Call) -> pb.GetImageResponse:
        return pb.GetImageResponse(image=images.get(call.namespace, request.name))

    async def list_all(request: pb.ListImagesRequest, call: Call) -> pb.ListImagesResponse:
        return pb.ListImagesResponse(images=images.all(call.namespace, request.filters))

    async def create(request: pb.CreateImageRequest, call: Call) -> pb.CreateImageResponse:
        made = images.create(call.namespace, request.image)
        exchange.publish(call.namespace, "/images/create", pb.ImageCreate(name=made.name, labels=made.labels))
        return pb.CreateImageResponse(image=made)

    async def update(request: pb.UpdateImageRequest, call: Call) -> pb.UpdateImageResponse:
        made = images.update(call.namespace, request.image, request.update_mask.paths)
        exchange.publish(call.namespace, "/images/update", pb.ImageUpdate(name=made.name, labels=made.labels))
        collector.soon()
        return pb.UpdateImageResponse(image=made)

    async def delete(request: pb.DeleteImageRequest, call: Call) -> Empty:
        images.delete(call.namespace, request.name, request.target.digest)
        exchange.publish(call.namespace, "/images/delete", pb.ImageDelete(name=request.name))
        await collector.after_delete(sync=request.sync)
        return Empty()

    served = Service("containerd.services.images.v1.Images")
    served.unary("Get", pb.GetImageRequest, get)
    served.unary("List", pb.ListImagesRequest, list_all)
    served.unary("Create", pb.CreateImageRequest, create)
    served.unary("Update", pb.UpdateImageRequest, update)
    served.unary("Delete", pb.DeleteImageRequest, delete)
    return served
