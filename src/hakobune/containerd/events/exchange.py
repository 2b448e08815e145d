"""Publish and subscribe: an event goes to the queue of each subscriber whose filter it passes.

Without subscribers an event costs nothing: its message is encoded only for somebody. A subscriber that
does not read is cut off when LIMIT events wait for it, so that it can neither stop us nor eat our memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from hakobune.containerd.filters import Filter, Get
from hakobune.errors import ResourceExhausted
from hakobune.proto import types_pb2

LIMIT = 65536
_SECOND = 1_000_000_000


class _Subscriber:
    def __init__(self, filters: Filter) -> None:
        self.filters = filters
        self.queue: asyncio.Queue[types_pb2.Envelope] = asyncio.Queue(LIMIT)
        self.lost = False

    def offer(self, envelope: types_pb2.Envelope, get: Get) -> None:
        if self.lost or not self.filters.matches(get):
            return
        try:
            self.queue.put_nowait(envelope)
        except asyncio.QueueFull:
            self.lost = True

    async def read(self) -> AsyncIterator[types_pb2.Envelope]:
        while not (self.lost and self.queue.empty()):
            yield await self.queue.get()
        raise ResourceExhausted(f"this subscriber has {LIMIT} events behind it unread")


class Exchange:
    """`observers` see every event first: rooms of this process that must know."""

    def __init__(self) -> None:
        self._subscribers: set[_Subscriber] = set()
        self.observers: list[Callable[[types_pb2.Envelope], None]] = []

    def publish(self, namespace: str, topic: str, message: Message) -> None:
        """Tell an event of our own, now."""
        if not self._subscribers and not self.observers:
            return
        now = time.time_ns()
        envelope = types_pb2.Envelope(namespace=namespace, topic=topic)
        envelope.timestamp.seconds, envelope.timestamp.nanos = divmod(now, _SECOND)
        envelope.event.type_url = message.DESCRIPTOR.full_name
        envelope.event.value = message.SerializeToString()
        self.forward(envelope)

    def forward(self, envelope: types_pb2.Envelope) -> None:
        """Pass on an event of somebody else's."""
        for observer in self.observers:
            observer(envelope)
        if self._subscribers:
            get = _fields(envelope)
            for subscriber in self._subscribers:
                subscriber.offer(envelope, get)

    @contextlib.contextmanager
    def subscribed(self, filters: Iterable[str]) -> Iterator[AsyncIterator[types_pb2.Envelope]]:
        """`with exchange.subscribed(texts) as events:`; live from its entry. Raises InvalidArgument."""
        subscriber = _Subscriber(Filter(filters))
        self._subscribers.add(subscriber)
        try:
            yield subscriber.read()
        finally:
            self._subscribers.discard(subscriber)


def _fields(envelope: types_pb2.Envelope) -> Get:
    """`topic`, `namespace`, and `event.<field>…`, for which the message is decoded when first asked for."""
    decoded: list[Message | None] = []

    def get(path: tuple[str, ...]) -> str | None:
        if path == ("topic",):
            return envelope.topic
        if path == ("namespace",):
            return envelope.namespace
        if path[0] != "event":
            return None
        if not decoded:
            decoded.append(_decode(envelope))
        return _field(decoded[0], path[1:])

    return get


def _decode(envelope: types_pb2.Envelope) -> Message | None:
    name = envelope.event.type_url.rpartition("/")[2]
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
        return message_factory.GetMessageClass(descriptor).FromString(envelope.event.value)
    except (KeyError, DecodeError):
        return None


def _field(message: Message | None, path: tuple[str, ...]) -> str | None:
    value: object = message
    for at, name in enumerate(path):
        if isinstance(value, Message):
            value = getattr(value, name, None)
        elif value is not None and hasattr(value, "get"):
            return value.get(".".join(path[at:]))  # type: ignore[no-any-return]
        else:
            return None
    return None if value is None or isinstance(value, Message) else str(value)
