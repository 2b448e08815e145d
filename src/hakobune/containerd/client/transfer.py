"""Client of the transfer service: images between a registry and the store, with progress and questions for credentials.

Both are streams that are opened before the call and named in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from hakobune.containerd.client.connection import Connection
from hakobune.containerd.client.mounts import descriptor_from
from hakobune.containerd.wire import pack, unpack_as
from hakobune.errors import HakoError
from hakobune.proto import transfer_pb2, types_pb2
from hakobune.proto import transfer_types_pb2 as pb
from hakobune.proto.streaming_pb2 import StreamInit
from hakobune.spec.descriptor import Descriptor
from hakobune.transport.grpc_runtime import aio, error_of

_SERVICE = "containerd.services.transfer.v1.Transfer"
_STREAMING = "containerd.services.streaming.v1.Streaming"
_LAST_SECONDS = 2.0  # for progress that is still on its way when the call has ended


@dataclass(frozen=True, slots=True)
class Progress:
    """`about` is None for what is said of the whole transfer; `progress` and `total` in bytes."""

    event: str
    name: str
    progress: int
    total: int
    about: Descriptor | None


@dataclass(frozen=True, slots=True)
class Answer:
    """Credentials for a host: `header` whole, else `secret` of `username`, or a refresh token; empty for none."""

    username: str = ""
    secret: str = field(default="", repr=False)
    header: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """A name in a registry and how it is reached: `ask(host)` for credentials, a directory of hosts.toml files."""

    reference: str
    ask: Callable[[str], Awaitable[Answer]] | None = None
    host_dir: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Platform:
    """In the words of images."""

    os: str
    architecture: str
    variant: str = ""


Told = Callable[[Progress], Awaitable[None]]


class Transfer:
    """Raises what the manager says; Unimplemented when it has no such service."""

    def __init__(self, connection: Connection) -> None:
        self._transfer = connection.unary(_SERVICE, "Transfer", Empty.FromString)
        self._stream = connection.duplex(_STREAMING, "Stream", AnyMessage.FromString)

    async def pull(self, place: Place, name: str, platform: Platform, snapshotter: str, told: Told) -> None:
        """Fetch for one platform, unpack it, and give it `name`. Cancelled, the manager stops, too."""
        wanted = types_pb2.Platform(
            os=platform.os, architecture=platform.architecture, variant=platform.variant
        )
        store = pb.ImageStore(
            name=name,
            platforms=[wanted],
            unpacks=[pb.UnpackConfiguration(platform=wanted, snapshotter=snapshotter)],
        )
        async with self._registry(place) as registry:
            await self._call(registry, store, told)

    async def push(self, name: str, place: Place, told: Told) -> None:
        """Send the image `name` of the store."""
        async with self._registry(place) as registry:
            await self._call(pb.ImageStore(name=name), registry, told)

    @contextlib.asynccontextmanager
    async def _registry(self, place: Place) -> AsyncIterator[pb.OCIRegistry]:
        resolver = pb.RegistryResolver(headers=place.headers, host_dir=place.host_dir)
        made = pb.OCIRegistry(reference=place.reference, resolver=resolver)
        if place.ask is None:
            yield made
            return
        async with self._opened("auth") as (name, call):
            resolver.auth_stream = name
            made.resolver.CopyFrom(resolver)
            answering = asyncio.create_task(_answer(call, place.ask))
            try:
                yield made
            finally:
                await _end(answering)

    async def _call(self, source: Message, destination: Message, told: Told) -> None:
        async with self._opened("progress") as (name, call):
            listening = asyncio.create_task(_listen(call, told))
            try:
                await self._transfer(transfer_pb2.TransferRequest(
                    source=pack(source), destination=pack(destination),
                    options=transfer_pb2.TransferOptions(progress_stream=name),
                ))  # fmt: skip
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(listening), _LAST_SECONDS)
            finally:
                await _end(listening)

    @contextlib.asynccontextmanager
    async def _opened(self, what: str) -> AsyncIterator[tuple[str, Any]]:
        """(id, gRPC's call) of a stream that the manager knows by now."""
        name = f"hakod-{what}-{secrets.token_hex(8)}"
        call = self._stream()
        try:
            await call.write(pack(StreamInit(id=name)))
            await call.read()
            yield name, call
        except aio.AioRpcError as failure:
            raise error_of(failure) from None
        finally:
            call.cancel()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, HakoError, aio.AioRpcError):
        await task


async def _listen(call: Any, told: Told) -> None:
    while isinstance(message := await call.read(), AnyMessage):
        said = pb.Progress()
        if unpack_as(message, said):
            about = descriptor_from(said.desc) if said.HasField("desc") else None
            await told(Progress(said.event, said.name, said.progress, said.total, about))


async def _answer(call: Any, ask: Callable[[str], Awaitable[Answer]]) -> None:
    while isinstance(message := await call.read(), AnyMessage):
        asked = pb.AuthRequest()
        if unpack_as(message, asked):
            await call.write(pack(_response(await ask(asked.host))))


def _response(found: Answer) -> pb.AuthResponse:
    if found.header:
        return pb.AuthResponse(authType=pb.HEADER, secret=found.header)
    if found.username:
        return pb.AuthResponse(authType=pb.CREDENTIALS, username=found.username, secret=found.secret)
    return pb.AuthResponse(authType=pb.REFRESH if found.secret else pb.NONE, secret=found.secret)
