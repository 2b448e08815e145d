"""Publish and subscribe."""

from __future__ import annotations

import asyncio

import pytest

from hakobune.containerd.events import exchange as room
from hakobune.containerd.events.exchange import Exchange
from hakobune.containerd.events.rpc import TTRPC_FORWARD, ttrpc_handlers
from hakobune.errors import InvalidArgument, ResourceExhausted
from hakobune.proto import event_types_pb2 as events
from hakobune.proto import events_pb2, types_pb2
from hakobune.wire import ttrpc


def test_subscribers_get_what_passes_in_order() -> None:
    async def body() -> None:
        exchange = Exchange()
        exchange.publish("ns", "/a", events.ContainerDelete(id="nobody hears"))
        with (
            exchange.subscribed(["event.id==x", "topic==/b"]) as heard,
            exchange.subscribed([]) as everything,
        ):
            for topic, name in (("/a", "x"), ("/a", "y"), ("/b", "z")):
                exchange.publish("ns", topic, events.ContainerDelete(id=name))
            assert [(await anext(heard)).topic for _ in range(2)] == ["/a", "/b"]
            assert [(await anext(everything)).topic for _ in range(3)] == ["/a", "/a", "/b"]

    asyncio.run(body())


def test_a_subscriber_that_never_reads_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LIMIT", 3)

    async def body() -> None:
        exchange = Exchange()
        with exchange.subscribed([]) as heard:
            for _ in range(5):
                exchange.publish("ns", "/a", events.ContainerDelete(id="x"))
            for _ in range(3):
                await anext(heard)
            with pytest.raises(ResourceExhausted):
                await anext(heard)

    asyncio.run(body())


def test_what_shims_send_is_checked() -> None:
    exchange = Exchange()
    seen: list[types_pb2.Envelope] = []
    exchange.observers.append(seen.append)
    forward = ttrpc_handlers(exchange)[TTRPC_FORWARD]
    envelope = types_pb2.Envelope(namespace="ns", topic="/tasks/exit")
    assert forward(_call(events_pb2.ForwardRequest(envelope=envelope).SerializeToString())) == b""
    assert [event.topic for event in seen] == ["/tasks/exit"]
    for bad in (
        types_pb2.Envelope(namespace="", topic="/a"),
        types_pb2.Envelope(namespace="ns", topic="a"),
        types_pb2.Envelope(namespace="ns", topic="/a//b"),
    ):
        with pytest.raises(InvalidArgument):
            forward(_call(events_pb2.ForwardRequest(envelope=bad).SerializeToString()))
    with pytest.raises(InvalidArgument):
        forward(_call(b"\xff\xff"))


def _call(payload: bytes) -> ttrpc.Request:
    return ttrpc.Request("", "Forward", payload)
