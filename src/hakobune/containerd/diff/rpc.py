"""containerd.services.diff.v1.Diff."""

from __future__ import annotations

from hakobune.containerd.content.store import Content
from hakobune.containerd.diff.unpack import unpack
from hakobune.containerd.serving import Call, Service
from hakobune.errors import Unimplemented
from hakobune.proto import diff_pb2 as pb
from hakobune.proto import types_pb2
from hakobune.spec.mount import Mount

LAYER = "application/vnd.oci.image.layer.v1.tar"


def service(content: Content) -> Service:
    """The edge."""

    async def apply(request: pb.ApplyRequest, call: Call) -> pb.ApplyResponse:
        content.info(call.namespace, request.diff.digest)
        mounts = [Mount(m.type, m.source, m.target, tuple(m.options)) for m in request.mounts]
        done = await unpack(content.path(request.diff.digest), mounts)
        return pb.ApplyResponse(
            applied=types_pb2.Descriptor(media_type=LAYER, digest=done.digest, size=done.size)
        )

    async def diff(_request: pb.DiffRequest, _call: Call) -> pb.DiffResponse:
        raise Unimplemented("diffs of snapshots are not served yet")

    served = Service("containerd.services.diff.v1.Diff")
    served.unary("Apply", pb.ApplyRequest, apply)
    served.unary("Diff", pb.DiffRequest, diff)
    return served
