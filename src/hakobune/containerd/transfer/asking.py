"""A client's registry: how it is reached, and its credentials, asked for over the stream that the client opened."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from hakobune.containerd.streaming.streams import Stream, Streams
from hakobune.containerd.wire import unpack_as
from hakobune.errors import InvalidArgument, Unavailable
from hakobune.proto import transfer_types_pb2 as pb
from hakobune.registry.repository import Access, Ask, Credentials, nobody


@contextlib.asynccontextmanager
async def access(streams: Streams, namespace: str, place: pb.OCIRegistry) -> AsyncIterator[Access]:
    """Access as the client describes it; its stream is closed afterwards. Raises NotFound, InvalidArgument."""
    resolver = place.resolver
    if resolver.default_scheme not in ("", "http", "https"):
        raise InvalidArgument(f"registry: {resolver.default_scheme!r} is neither http nor https")
    stream = streams.get(namespace, resolver.auth_stream) if resolver.auth_stream else None
    try:
        ask = asker(stream, place.reference) if stream is not None else nobody
        yield Access(ask, resolver.host_dir, resolver.default_scheme, dict(resolver.headers))
    finally:
        if stream is not None:
            stream.close()


def asker(stream: Stream, reference: str) -> Ask:
    """Asks the client, one question at a time. Raises Unavailable when it has gone, InvalidArgument."""
    turn = asyncio.Lock()

    async def ask(host: str) -> Credentials:
        async with turn:
            await stream.send(pb.AuthRequest(host=host, reference=reference))
            message = await stream.receive()
        answer = pb.AuthResponse()
        if message is None:
            raise Unavailable(f"credentials for {host}: the client has gone")
        if not unpack_as(message, answer):
            raise InvalidArgument(f"stream {stream.name!r} has a {message.type_url!r}, not credentials")
        return _credentials(answer)

    return ask


def _credentials(answer: pb.AuthResponse) -> Credentials:
    if answer.authType == pb.CREDENTIALS:
        return Credentials(answer.username, answer.secret)
    if answer.authType == pb.REFRESH:
        return Credentials("", answer.secret)
    if answer.authType == pb.HEADER:
        return Credentials(header=answer.secret)
    return Credentials()
