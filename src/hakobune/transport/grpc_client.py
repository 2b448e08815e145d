"""A gRPC client with the shape of `TtrpcClient`: one connection, that is not made again when it ends. Imports: transport.grpc_runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hakobune.errors import Unavailable
from hakobune.transport.cancellation import asked_to_end
from hakobune.transport.grpc_runtime import CHANNEL_OPTIONS, aio, error_of, grpc

CONNECT_SECONDS = 5.0
_NEVER = (1 << 31) - 1  # milliseconds: a channel without a call would hang up after half an hour
_TRYING = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)


class GrpcClient:
    """One connection. `on_lost` is called once when it ends without `close`."""

    def __init__(self, channel: aio.Channel, on_lost: Callable[[], None] | None = None) -> None:
        self._channel = channel
        self._on_lost = on_lost
        self._ended = False
        self._closing: asyncio.Future[None] | None = None
        self._watch = asyncio.ensure_future(self._watched())

    @classmethod
    async def connect(cls, path: str, on_lost: Callable[[], None] | None = None) -> GrpcClient:
        """Connect to a unix socket, "\\0…" for an abstract one. Raises Unavailable."""
        target = f"unix-abstract:{path[1:]}" if path.startswith("\0") else f"unix:{path}"
        options = [*CHANNEL_OPTIONS, ("grpc.client_idle_timeout_ms", _NEVER)]
        channel = aio.insecure_channel(target, options=options)
        try:
            await asyncio.wait_for(_connected(channel, path), CONNECT_SECONDS)
        except BaseException as err:
            await channel.close(None)
            if isinstance(err, TimeoutError):
                raise Unavailable(f"grpc socket {path}: nobody speaks gRPC there") from None
            raise
        return cls(channel, on_lost)

    @property
    def connected(self) -> bool:
        """Whether calls can be made."""
        return not self._ended

    async def call(self, service: str, method: str, payload: bytes, timeout: float = 0) -> bytes:
        """One call; the answer's payload. `timeout` in seconds, 0 for none.

        Raises the HakoError that the other side sends, Unavailable when the connection ends first,
        DeadlineExceeded after `timeout`.
        """
        if self._ended:
            raise Unavailable(f"{method}: the gRPC connection is closed")
        asked = self._channel.unary_unary(f"/{service}/{method}", None, None)
        try:
            answer: bytes = await asked(payload, timeout=timeout or None)
        except aio.AioRpcError as failure:
            raise error_of(failure) from None
        except asyncio.CancelledError:
            if self._ended and not asked_to_end():  # the channel cancels what is under way
                raise Unavailable(f"{method}: the gRPC connection has ended") from None
            raise
        return answer

    def close(self) -> None:
        """End the connection; calls under way raise Unavailable. `on_lost` is not called."""
        if not self._ended:
            self._watch.cancel()
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._closing = asyncio.ensure_future(self._channel.close(None))

    async def _watched(self) -> None:
        """A channel makes its connection anew: to a shim, that would be another's answer to the same name."""
        await self._channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        self._end()
        if self._on_lost is not None:
            self._on_lost()


async def _connected(channel: aio.Channel, path: str) -> None:
    state = channel.get_state(try_to_connect=True)
    while state in _TRYING:
        await channel.wait_for_state_change(state)
        state = channel.get_state(try_to_connect=True)
    if state is not grpc.ChannelConnectivity.READY:
        raise Unavailable(f"grpc socket {path}: nobody listens")
