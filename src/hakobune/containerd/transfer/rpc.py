"""containerd.services.transfer.v1.Transfer."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.serving import Call, Service
from hakobune.containerd.transfer.deps import Deps
from hakobune.containerd.transfer.transfer import progress, transfer
from hakobune.proto import transfer_pb2 as pb


def service(deps: Deps) -> Service:
    """The edge."""

    async def serve(request: pb.TransferRequest, call: Call) -> Empty:
        async with progress(deps, call.namespace, request.options.progress_stream) as tell:
            await transfer(deps, call.namespace, call.lease, request.source, request.destination, tell)
        return Empty()

    served = Service("containerd.services.transfer.v1.Transfer")
    served.unary("Transfer", pb.TransferRequest, serve)
    return served
