"""containerd.services.diff.v1.Diff."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from hakobune.containerd.content.store import Content
from hakobune.containerd.diff.pack import arguments, pack
from hakobune.containerd.diff.unpack import unpack
from hakobune.containerd.events.exchange import Exchange
from hakobune.containerd.serving import Call, Service
from hakobune.errors import Unimplemented
from hakobune.proto import diff_pb2 as pb
from hakobune.proto import event_types_pb2 as events
from hakobune.proto import types_pb2
from hakobune.spec.mount import Mount

LAYER = "application/vnd.oci.image.layer.v1.tar"
_COMPRESSED = {
    LAYER: False,
    f"{LAYER}+gzip": True,
    "application/vnd.docker.image.rootfs.diff.tar": False,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": True,
}


def service(content: Content, exchange: Exchange) -> Service:
    """The edge."""

    async def apply(request: pb.ApplyRequest, call: Call) -> pb.ApplyResponse:
        content.info(call.namespace, request.diff.digest)
        done = await unpack(content.path(request.diff.digest), _mounts(request.mounts))
        return pb.ApplyResponse(
            applied=types_pb2.Descriptor(media_type=LAYER, digest=done.digest, size=done.size)
        )

    async def diff(request: pb.DiffRequest, call: Call) -> pb.DiffResponse:
        kind = request.media_type or f"{LAYER}+gzip"
        if kind not in _COMPRESSED:
            raise Unimplemented(f"unsupported diff media type: {kind}: not implemented")
        words = arguments(_mounts(request.left), _mounts(request.right))
        if request.HasField("source_date_epoch"):
            words += ["--newest", str(request.source_date_epoch.seconds)]
        digest, size = await pack(
            content, call.namespace, request.ref or f"diff-{secrets.token_hex(8)}", words,
            compressed=_COMPRESSED[kind], labels=request.labels, lease=call.lease,
        )  # fmt: skip
        exchange.publish(call.namespace, "/content/create", events.ContentCreate(digest=digest, size=size))
        return pb.DiffResponse(diff=types_pb2.Descriptor(media_type=kind, digest=digest, size=size))

    served = Service("containerd.services.diff.v1.Diff")
    served.unary("Apply", pb.ApplyRequest, apply)
    served.unary("Diff", pb.DiffRequest, diff)
    return served


def _mounts(messages: Iterable[types_pb2.Mount]) -> list[Mount]:
    return [Mount(m.type, m.source, m.target, tuple(m.options)) for m in messages]
