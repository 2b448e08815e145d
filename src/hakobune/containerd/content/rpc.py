"""containerd.services.content.v1.Content."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable

from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.content.store import Blob, Content, Ingest, Writer
from hakobune.containerd.events.exchange import Exchange
from hakobune.containerd.serving import Call, Service
from hakobune.containerd.wire import timestamp
from hakobune.errors import InvalidArgument
from hakobune.proto import content_pb2 as pb
from hakobune.proto import event_types_pb2 as events

_PAGE = 100
_CHUNK = 1 << 20


def service(content: Content, exchange: Exchange, collect: Callable[[], None]) -> Service:
    """The edge; `collect` is told when something may have become unreferenced."""
    served = Service("containerd.services.content.v1.Content")
    _blobs(served, content, exchange, collect)
    _writes(served, content, exchange)
    return served


def _blobs(served: Service, content: Content, exchange: Exchange, collect: Callable[[], None]) -> None:
    async def info(request: pb.InfoRequest, call: Call) -> pb.InfoResponse:
        return pb.InfoResponse(info=_info(content.info(call.namespace, request.digest)))

    async def update(request: pb.UpdateRequest, call: Call) -> pb.UpdateResponse:
        wanted = request.info
        found = content.update(call.namespace, wanted.digest, wanted.labels, request.update_mask.paths)
        collect()
        return pb.UpdateResponse(info=_info(found))

    async def list_all(request: pb.ListContentRequest, call: Call) -> AsyncIterator[pb.ListContentResponse]:
        found = content.all(call.namespace, request.filters)
        for at in range(0, len(found), _PAGE):
            yield pb.ListContentResponse(info=[_info(blob) for blob in found[at : at + _PAGE]])

    async def delete(request: pb.DeleteContentRequest, call: Call) -> Empty:
        content.delete(call.namespace, request.digest)
        exchange.publish(call.namespace, "/content/delete", events.ContentDelete(digest=request.digest))
        collect()
        return Empty()

    async def read(request: pb.ReadContentRequest, call: Call) -> AsyncIterator[pb.ReadContentResponse]:
        fd = content.open(call.namespace, request.digest, request.offset)
        try:
            at, end = request.offset, request.offset + request.size if request.size else 1 << 62
            while data := await asyncio.to_thread(os.read, fd, min(_CHUNK, end - at)):
                yield pb.ReadContentResponse(offset=at, data=data)
                at += len(data)
        finally:
            os.close(fd)

    served.unary("Info", pb.InfoRequest, info)
    served.unary("Update", pb.UpdateRequest, update)
    served.stream("List", pb.ListContentRequest, list_all)
    served.unary("Delete", pb.DeleteContentRequest, delete)
    served.stream("Read", pb.ReadContentRequest, read)


def _writes(served: Service, content: Content, exchange: Exchange) -> None:
    async def status(request: pb.StatusRequest, call: Call) -> pb.StatusResponse:
        return pb.StatusResponse(status=_status(content.status(call.namespace, request.ref)))

    async def statuses(request: pb.ListStatusesRequest, call: Call) -> pb.ListStatusesResponse:
        found = content.statuses(call.namespace, request.filters)
        return pb.ListStatusesResponse(statuses=[_status(ingest) for ingest in found])

    async def abort(request: pb.AbortRequest, call: Call) -> Empty:
        content.abort(call.namespace, request.ref)
        return Empty()

    async def write(
        requests: AsyncIterator[pb.WriteContentRequest], call: Call
    ) -> AsyncIterator[pb.WriteContentResponse]:
        writer: Writer | None = None
        try:
            async for request in requests:
                if writer is None:
                    writer = content.writer(call.namespace, request.ref, request.total, request.expected)
                elif request.ref not in ("", writer.ingest.ref):
                    raise InvalidArgument(f"ref {request.ref}: this stream writes {writer.ingest.ref}")
                yield await _step(writer, request, call, exchange)
                if request.action == pb.COMMIT:
                    return
        finally:
            if writer is not None:
                writer.close()

    served.unary("Status", pb.StatusRequest, status)
    served.unary("ListStatuses", pb.ListStatusesRequest, statuses)
    served.unary("Abort", pb.AbortRequest, abort)
    served.duplex("Write", pb.WriteContentRequest, write)


async def _step(
    writer: Writer, request: pb.WriteContentRequest, call: Call, exchange: Exchange
) -> pb.WriteContentResponse:
    digest = ""
    if request.action != pb.STAT and (request.data or request.action == pb.WRITE):
        await writer.write(request.data, request.offset)
    if request.action == pb.COMMIT:
        digest = await writer.commit(request.total, request.expected, request.labels, call.lease)
        event = events.ContentCreate(digest=digest, size=writer.offset)
        exchange.publish(call.namespace, "/content/create", event)
    ingest = writer.ingest
    return pb.WriteContentResponse(
        action=request.action, offset=writer.offset, total=request.total or ingest.total, digest=digest,
        started_at=timestamp(ingest.started), updated_at=timestamp(ingest.updated),
    )  # fmt: skip


def _info(blob: Blob) -> pb.Info:
    return pb.Info(
        digest=blob.digest, size=blob.size, labels=blob.labels, created_at=timestamp(blob.created),
        updated_at=timestamp(blob.updated),
    )  # fmt: skip


def _status(ingest: Ingest) -> pb.Status:
    return pb.Status(
        ref=ingest.ref, offset=ingest.offset, total=ingest.total, expected=ingest.expected,
        started_at=timestamp(ingest.started), updated_at=timestamp(ingest.updated),
    )  # fmt: skip
