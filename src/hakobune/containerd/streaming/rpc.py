"""containerd.services.streaming.v1.Streaming."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.serving import Call, Service
from hakobune.containerd.streaming.streams import Streams
from hakobune.containerd.wire import pack, unpack_as
from hakobune.errors import InvalidArgument
from hakobune.proto.streaming_pb2 import StreamInit


def service(streams: Streams) -> Service:
    """The edge: the first message names the stream and is answered, the rest is the stream's."""

    async def stream(requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Any]:
        init = StreamInit()
        async for first in requests:
            if not unpack_as(first, init) or not init.id:
                raise InvalidArgument(f"a stream begins with its id, not with {first.type_url!r}")
            break
        with streams.opened(call.namespace, init.id) as opened:
            yield pack(Empty())
            pumping = asyncio.ensure_future(opened.pump(requests))
            try:
                async for message in opened.outgoing():
                    yield message
            finally:
                pumping.cancel()

    served = Service("containerd.services.streaming.v1.Streaming")
    served.duplex("Stream", Any, stream)
    return served
