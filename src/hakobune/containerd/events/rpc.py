"""The edges of the exchange: gRPC for clients, ttrpc for shims."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError

from hakobune.containerd.events.exchange import Exchange
from hakobune.containerd.serving import Call, Service, check_name
from hakobune.errors import InvalidArgument
from hakobune.proto import events_pb2 as pb
from hakobune.proto import types_pb2
from hakobune.transport.ttrpc_server import Handler
from hakobune.wire import ttrpc

_TOPIC = re.compile(r"(/[A-Za-z0-9._-]+)+")
TTRPC_FORWARD = "containerd.services.events.ttrpc.v1.Events/Forward"


def service(exchange: Exchange) -> Service:
    """containerd.services.events.v1.Events."""

    async def publish(request: pb.PublishRequest, call: Call) -> Empty:
        envelope = types_pb2.Envelope(namespace=call.namespace, topic=request.topic, event=request.event)
        envelope.timestamp.GetCurrentTime()
        exchange.forward(_checked(envelope))
        return Empty()

    async def forward(request: pb.ForwardRequest, _call: Call) -> Empty:
        exchange.forward(_checked(request.envelope))
        return Empty()

    async def subscribe(request: pb.SubscribeRequest, call: Call) -> AsyncIterator[types_pb2.Envelope]:
        with exchange.subscribed(request.filters) as events:
            await call.open()
            async for envelope in events:
                yield envelope

    served = Service("containerd.services.events.v1.Events", namespaced=False)
    served.unary("Publish", pb.PublishRequest, publish)
    served.unary("Forward", pb.ForwardRequest, forward)
    served.stream("Subscribe", pb.SubscribeRequest, subscribe)
    return served


def ttrpc_handlers(exchange: Exchange) -> dict[str, Handler]:
    """What shims call."""

    def forward(call: ttrpc.Request) -> bytes:
        try:
            # the ttrpc service's message has the same shape
            request = pb.ForwardRequest.FromString(call.payload)
        except DecodeError as err:
            raise InvalidArgument(f"event: {err}") from err
        exchange.forward(_checked(request.envelope))
        return b""

    return {TTRPC_FORWARD: forward}


def _checked(envelope: types_pb2.Envelope) -> types_pb2.Envelope:
    check_name("namespace", envelope.namespace)
    if not _TOPIC.fullmatch(envelope.topic):
        raise InvalidArgument(f"topic {envelope.topic!r} is not a path of names")
    return envelope
