"""Client of the transfer service: images between a registry and the store, with progress and questions for credentials.

Both are streams that are opened before the call and named in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from hakobune.containerd.client.connection import Connection
from hakobune.containerd.client.mounts import descriptor_from
from hakobune.containerd.wire import pack, unpack_as
from hakobune.errors import DataLoss, HakoError, Unavailable
from hakobune.proto import transfer_pb2, types_pb2
from hakobune.proto import transfer_types_pb2 as pb
from hakobune.proto.streaming_pb2 import StreamInit
from hakobune.spec.descriptor import Descriptor
from hakobune.transport.grpc_runtime import aio, error_of
from hakobune.transport.pieces import joined

_SERVICE = "containerd.services.transfer.v1.Transfer"
_STREAMING = "containerd.services.streaming.v1.Streaming"
_PIECE = 256 * 1024  # bytes; containerd opens windows of 64 KiB, so it gets smaller ones
# Of an archive that is read. Wide, because a write that meets the end of the stream breaks the whole call in gRPC's
# library, together with what is still to be read; HTTP/2 holds back a manager that is faster than our client.
_WINDOW = 1 << 30
_TRIES, _AGAIN_SECONDS = 12, 0.01
_OVERTAKEN = "Internal error from Core"  # the library's own words for a write after the end of a call
_END = bytes(1024)  # of a tar archive
_LAST_SECONDS = 2.0  # containerd leaves the stream open: at most, for progress that is still on its way when the call has ended


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
        wanted = _platform(platform)
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

    async def load(
        self, archive: AsyncIterator[bytes], platforms: Sequence[Platform], snapshotter: str, told: Told
    ) -> None:
        """The images of an archive into the store, each by its own name, "<none>@<digest>" without one.

        Those for the `platforms` are unpacked, and what others an index lists is left out. Cancelled, the manager
        stops, too.
        """
        wanted = [_platform(platform) for platform in platforms]
        store = pb.ImageStore(
            platforms=wanted,
            unpacks=[pb.UnpackConfiguration(platform=one, snapshotter=snapshotter) for one in wanted],
            extra_references=[
                pb.ImageReference(
                    name="<none>",
                    is_prefix=True,
                    allow_overwrite=True,
                    add_digest=True,
                    skip_named_digest=True,
                )
            ],
        )
        async with self._opened("archive") as (name, call):
            sending = asyncio.create_task(_send(call, archive))
            try:
                await self._call(pb.ImageImportStream(stream=name), store, told)
            except HakoError:
                if sending.done():
                    await sending  # the manager has failed for want of what could not be sent
                raise
            finally:
                await _end(sending)

    async def save(self, names: Sequence[str], platforms: Sequence[Platform]) -> AsyncIterator[bytes]:
        """One archive of these images, in pieces. Raises NotFound before the first; closed early, the manager stops."""
        store = pb.ImageStore(extra_references=[pb.ImageReference(name=name) for name in names])
        async with self._opened("archive") as (name, call):
            place = pb.ImageExportStream(stream=name, platforms=[_platform(one) for one in platforms])
            working = asyncio.create_task(self._call(store, place, _hear_nothing))
            try:
                async for piece in _receive(call, working):
                    yield piece
                await working
            finally:
                await _end(working)

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
        call = await self._begun(name)
        try:
            yield name, call
        except aio.AioRpcError as failure:
            raise error_of(failure) from None
        finally:
            call.cancel()

    async def _begun(self, name: str) -> Any:
        """A call that the manager has taken for the stream `name`. Raises HakoError.

        A manager without this service ends the call at once. When a write meets that end, gRPC's library puts an error
        of its own over what the manager has said (about one call in four), so it is asked again.
        """
        for tried in range(_TRIES):
            call = self._stream()
            try:
                await call.write(pack(StreamInit(id=name)))
                await call.read()
                return call
            except aio.AioRpcError as failure:
                call.cancel()
                if failure.details() != _OVERTAKEN or tried == _TRIES - 1:
                    raise error_of(failure) from None
            except BaseException:
                call.cancel()
                raise
            await asyncio.sleep(tried * _AGAIN_SECONDS)
        raise AssertionError("the last try returns or raises")


def _platform(platform: Platform) -> types_pb2.Platform:
    return types_pb2.Platform(os=platform.os, architecture=platform.architecture, variant=platform.variant)


async def _hear_nothing(_progress: Progress) -> None:
    """Of an archive that is written, its bytes are the progress."""


async def _send(call: Any, archive: AsyncIterator[bytes]) -> None:
    """As much as the manager's window allows, in pieces: each costs half a millisecond, however small it is.

    When `archive` fails the manager's stream does, too.
    """
    try:
        await _send_all(call, archive)
    except BaseException:
        call.cancel()
        raise


async def _send_all(call: Any, archive: AsyncIterator[bytes]) -> None:
    window = 0
    async for part in joined(archive, _PIECE):
        view = memoryview(part)
        while view:
            while window <= 0:
                window += await _window(call)
            piece = view[: min(_PIECE, window)]
            await call.write(pack(pb.Data(data=bytes(piece))))
            window -= len(piece)
            view = view[len(piece) :]
    await call.done_writing()


async def _window(call: Any) -> int:
    update = pb.WindowUpdate()
    message = await call.read()
    if not isinstance(message, AnyMessage) or not unpack_as(message, update):
        raise Unavailable("the manager reads no more of the archive")
    return update.update


async def _receive(call: Any, working: asyncio.Task[None]) -> AsyncIterator[bytes]:
    """To the end of the archive that `working` has the manager write. Raises DataLoss when that does not come.

    The real containerd leaves the stream open, so what tells is the archive's own end: two empty blocks.
    """
    await call.write(pack(pb.WindowUpdate(update=_WINDOW)))
    left, tail = _WINDOW, b""
    reading = asyncio.ensure_future(call.read())
    try:
        while True:
            await asyncio.wait((reading, working), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done() and working.exception() is None:  # the rest is still on its way
                await asyncio.wait((reading,), timeout=_LAST_SECONDS)
            if not reading.done():
                if working.exception() is None and tail != _END:
                    raise DataLoss("the manager has written an archive without an end")
                return  # the caller raises what there is to raise
            if not isinstance(message := reading.result(), AnyMessage):
                return
            piece = pb.Data()
            if unpack_as(message, piece):
                left, tail = left - len(piece.data), (tail + piece.data)[-len(_END) :]
                if left <= _WINDOW // 2:
                    await call.write(pack(pb.WindowUpdate(update=_WINDOW - left)))
                    left = _WINDOW
                yield piece.data
            reading = asyncio.ensure_future(call.read())
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError, aio.AioRpcError):
            await reading


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
