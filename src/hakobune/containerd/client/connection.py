"""One gRPC channel to a manager, with the namespace and lease put on each call and errors made ours.

Brief calls go over the manager's ttrpc socket where it serves them there (ADR 0008); the real containerd does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from hakobune.containerd.client.lane import Lane
from hakobune.errors import Unavailable
from hakobune.transport.cancellation import asked_to_end
from hakobune.transport.grpc_runtime import CHANNEL_OPTIONS, aio, error_of, grpc

NAMESPACE = "containerd-namespace"
LEASE = "containerd-lease"
_SECOND = 1_000_000_000
_AGAIN_SECONDS = 0.02


class Message(Protocol):
    """What a generated message class offers us."""

    def SerializeToString(self) -> bytes: ...


Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response")
Unary = Callable[[Request], Awaitable[Response]]

_lease: contextvars.ContextVar[str] = contextvars.ContextVar("containerd_lease", default="")


def nanoseconds(stamp: Timestamp) -> int:
    """Nanoseconds since the epoch; 0 for an unset time."""
    return stamp.seconds * _SECOND + stamp.nanos


def timestamp(at: int) -> Timestamp:
    """The inverse of `nanoseconds`."""
    return Timestamp(seconds=at // _SECOND, nanos=at % _SECOND)


def _encode(message: Message) -> bytes:
    return message.SerializeToString()


def _unsent(failure: aio.AioRpcError) -> bool:
    """Whether nobody listened, so that the request cannot have been heard."""
    return failure.code() is grpc.StatusCode.UNAVAILABLE and (failure.details() or "").startswith(
        "failed to connect"
    )


class Connection:
    """Owns the channel. Any call may raise HakoError of the class that the manager said.

    A call with one answer that finds nobody listening is made again for `patience` seconds.
    """

    def __init__(self, address: str, namespace: str, patience: float = 0.0) -> None:
        self.address = address
        self._patience = patience
        self._plain = ((NAMESPACE, namespace),)
        self._channel = aio.insecure_channel(f"unix:{address}", options=CHANNEL_OPTIONS)
        self._closed = False
        self._lane = Lane(f"{address}.ttrpc", namespace)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        lease = _lease.get()
        return (*self._plain, (LEASE, lease)) if lease else self._plain

    @contextlib.contextmanager
    def lease(self, lease_id: str) -> Iterator[None]:
        """Calls made inside (by this task of asyncio) carry the lease."""
        token = _lease.set(lease_id)
        try:
            yield
        finally:
            _lease.reset(token)

    def unary(self, service: str, method: str, decode: Callable[[bytes], Response]) -> Unary[Any, Response]:
        """A caller of one method with one answer."""
        call = self._channel.unary_unary(
            f"/{service}/{method}", request_serializer=_encode, response_deserializer=decode
        )

        async def invoke(request: Message) -> Response:
            deadline = 0.0
            while True:
                try:
                    return await call(request, metadata=self._metadata())  # type: ignore[no-any-return]
                except aio.UsageError:
                    raise Unavailable(f"the connection to {self.address} is closed") from None
                except asyncio.CancelledError:
                    if self._closed and not asked_to_end():  # our own close has met the call
                        raise Unavailable(f"the connection to {self.address} is closed") from None
                    raise
                except aio.AioRpcError as failure:
                    now = asyncio.get_running_loop().time()
                    deadline = deadline or now + self._patience
                    if now >= deadline or not _unsent(failure):
                        raise error_of(failure) from None
                await asyncio.sleep(_AGAIN_SECONDS)

        return invoke

    def brief(self, service: str, method: str, decode: Callable[[bytes], Response]) -> Unary[Any, Response]:
        """As `unary`, for a method that waits for nobody and whose answer is short.

        The manager carries a call to its end when the caller goes away.
        """
        by_grpc = self.unary(service, method, decode)

        async def invoke(request: Message) -> Response:
            answer = await self._lane.call(service, method, request.SerializeToString(), _lease.get())
            return decode(answer) if answer is not None else await by_grpc(request)

        return invoke

    def stream(
        self, service: str, method: str, decode: Callable[[bytes], Response]
    ) -> Callable[[Message], AsyncIterator[Response]]:
        """A caller of one method with many answers; closing the iterator cancels the call."""
        start = self.open_stream(service, method, decode)

        async def invoke(request: Message) -> AsyncIterator[Response]:
            call = start(request)
            try:
                async for response in call:
                    yield response
            except aio.AioRpcError as failure:
                raise error_of(failure) from None
            finally:
                call.cancel()

        return invoke

    def open_stream(
        self, service: str, method: str, decode: Callable[[bytes], Any]
    ) -> Callable[[Message], Any]:
        """As `stream`, but gives gRPC's own call object, for `transport` errors to be seen by the caller."""
        call = self._channel.unary_stream(
            f"/{service}/{method}", request_serializer=_encode, response_deserializer=decode
        )
        return lambda request: call(request, metadata=self._metadata())

    def duplex(self, service: str, method: str, decode: Callable[[bytes], Any]) -> Callable[[], Any]:
        """A caller of one method with many requests and many answers: gRPC's own call object."""
        call = self._channel.stream_stream(
            f"/{service}/{method}", request_serializer=_encode, response_deserializer=decode
        )
        return lambda: call(None, metadata=self._metadata())

    async def ready(self, probe: Callable[[], Awaitable[object]], timeout: float) -> None:
        """Wait until `probe` succeeds. Raises Unavailable after `timeout` seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            try:
                left = max(deadline - asyncio.get_running_loop().time(), 0.01)
                await asyncio.wait_for(probe(), left)
                return
            except (Unavailable, TimeoutError):
                if self._closed:
                    raise Unavailable(f"the connection to {self.address} is closed") from None
                if asyncio.get_running_loop().time() >= deadline:
                    raise Unavailable(
                        f"containerd at {self.address} does not answer within {timeout:g} s"
                    ) from None
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        """End the channel; calls under way are cancelled."""
        self._closed = True
        self._lane.close()
        await self._channel.close(None)
