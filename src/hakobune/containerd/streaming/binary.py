"""Bytes through a stream: pieces of data one way, and how much the reader takes the other way.

The reader opens a window of so many bytes and opens it further as it reads; the writer sends no more than that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from hakobune.containerd.streaming.streams import Stream
from hakobune.containerd.wire import unpack_as
from hakobune.errors import InvalidArgument, Unavailable
from hakobune.proto.transfer_types_pb2 import Data, WindowUpdate

PIECE = 256 * 1024  # at most, where the reader's window is as large
WINDOW = 8 * PIECE


async def read(stream: Stream) -> AsyncIterator[bytes]:
    """The client's bytes. Raises InvalidArgument for anything else; Unavailable when the client has gone."""
    await stream.send(WindowUpdate(update=WINDOW))
    left = WINDOW
    while (message := await stream.receive()) is not None:
        piece = Data()
        if not unpack_as(message, piece):
            raise InvalidArgument(f"stream {stream.name!r} has a {message.type_url!r}, not data")
        left -= len(piece.data)
        if left <= WINDOW // 2:
            await stream.send(WindowUpdate(update=WINDOW - left))
            left = WINDOW
        yield piece.data


def writer(stream: Stream) -> Callable[[bytes], Awaitable[None]]:
    """`await write(data)`: the client gets it. Raises Unavailable when it has gone."""
    window = 0

    async def write(data: bytes) -> None:
        nonlocal window
        view = memoryview(data)
        while view:
            while window <= 0:
                window += await _update(stream)
            piece = view[: min(PIECE, window)]
            await stream.send(Data(data=bytes(piece)))
            window -= len(piece)
            view = view[len(piece) :]

    return write


async def _update(stream: Stream) -> int:
    message = await stream.receive()
    update = WindowUpdate()
    if message is None:
        raise Unavailable(f"stream {stream.name!r}: its reader has gone")
    if not unpack_as(message, update):
        raise InvalidArgument(f"stream {stream.name!r} has a {message.type_url!r}, not a window")
    return update.update
