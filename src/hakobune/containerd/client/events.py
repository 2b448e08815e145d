"""Client of the events service: what happens to tasks and objects, as it happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any as Untyped

from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.client.connection import Connection, nanoseconds
from hakobune.errors import from_code
from hakobune.proto import event_types_pb2, events_pb2, types_pb2
from hakobune.transport.cancellation import asked_to_end
from hakobune.transport.grpc_runtime import aio, error_of

_SERVICE = "containerd.services.events.v1.Events"
_LIVE = "hakobune-live"  # in the head of a subscription that stands; real containerd sends no head so early
_OPEN_SECONDS = 0.5  # a server that says nothing before its first event is taken to be listening by then


@dataclass(frozen=True, slots=True)
class TaskExit:
    """The end of a process; `id` is the exec's id, or `container_id` again for init."""

    container_id: str
    id: str
    pid: int
    exit_status: int
    exited_at: int


@dataclass(frozen=True, slots=True)
class TaskOOM:
    """The kernel has killed a process of the container for want of memory."""

    container_id: str


@dataclass(frozen=True, slots=True)
class Any:
    """An event of a kind that nobody here reads: its type and encoded message."""

    type_url: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """`timestamp` in nanoseconds since the epoch."""

    topic: str
    namespace: str
    timestamp: int
    value: TaskExit | TaskOOM | Any


class Subscription:
    """An open stream of events; an async iterator. To be closed by whoever opened it."""

    def __init__(self, call: Untyped) -> None:
        self._call = call

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        """The next event. Raises Unavailable when the manager has gone."""
        try:
            envelope = await self._call.read()
            if not isinstance(envelope, types_pb2.Envelope):
                raise StopAsyncIteration
            return _from(envelope)
        except aio.AioRpcError as failure:
            raise error_of(failure) from None
        except asyncio.CancelledError:
            if self._call.cancelled() and not asked_to_end():
                raise StopAsyncIteration from None  # the stream was closed, not whoever reads it
            raise

    def close(self) -> None:
        """End the subscription."""
        self._call.cancel()


class Events:
    """Filters are containerd's: `topic==/tasks/exit`, `topic~="^/tasks/"`; an event passes if any matches."""

    def __init__(self, connection: Connection) -> None:
        self._subscribe = connection.open_stream(_SERVICE, "Subscribe", types_pb2.Envelope.FromString)
        self._publish = connection.unary(_SERVICE, "Publish", Empty.FromString)

    async def open(self, *filters: str) -> Subscription:
        """A live subscription: every event published after this returns comes. Raises Unavailable."""
        call = self._subscribe(events_pb2.SubscribeRequest(filters=filters))
        with contextlib.suppress(TimeoutError):
            head = await asyncio.wait_for(asyncio.shield(call.initial_metadata()), _OPEN_SECONDS)
            if not any(key == _LIVE for key, _value in head or ()):
                status = await asyncio.wait_for(asyncio.shield(call.code()), _OPEN_SECONDS)
                raise from_code(status.value[0], await call.details() or "the subscription was ended")
        return Subscription(call)

    async def subscribe(self, *filters: str) -> AsyncIterator[Event]:
        """`open` and read until the caller stops."""
        subscription = await self.open(*filters)
        try:
            async for event in subscription:
                yield event
        finally:
            subscription.close()

    async def publish(self, topic: str, type_url: str, value: bytes) -> None:
        """Tell an event of one's own."""
        request = events_pb2.PublishRequest(topic=topic)
        request.event.type_url, request.event.value = type_url, value
        await self._publish(request)


def _exit(value: bytes) -> TaskExit:
    wire = event_types_pb2.TaskExit.FromString(value)
    return TaskExit(wire.container_id, wire.id, wire.pid, wire.exit_status, nanoseconds(wire.exited_at))


def _oom(value: bytes) -> TaskOOM:
    return TaskOOM(event_types_pb2.TaskOOM.FromString(value).container_id)


_READ: dict[str, Callable[[bytes], TaskExit | TaskOOM]] = {
    "containerd.events.TaskExit": _exit,
    "containerd.events.TaskOOM": _oom,
}


def _from(wire: types_pb2.Envelope) -> Event:
    type_url, value = wire.event.type_url, wire.event.value
    read = _READ.get(type_url.rpartition("/")[2])
    return Event(
        wire.topic, wire.namespace, nanoseconds(wire.timestamp), read(value) if read else Any(type_url, value)
    )
