"""Streams that wait for the call which names them: both directions, messages of any type.

A client opens a stream with an id of its choice, and a later call of the same namespace takes it by that id.
`send` waits while the client does not read; `receive` ends with the client's sending. Whoever takes a
stream closes it, and then the client's call ends. A client that goes ends both directions: nobody waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from hakobune.containerd.wire import pack
from hakobune.errors import AlreadyExists, NotFound, Unavailable

_WAITING = 4  # messages of each direction that nobody has taken yet


class Stream:
    """One client's stream. Raises Unavailable when the client has gone."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._incoming: asyncio.Queue[Any | None] = asyncio.Queue(_WAITING)
        self._outgoing: asyncio.Queue[Any | None] = (
            asyncio.Queue()
        )  # `send` keeps its limit, `close` needs none
        self._room = asyncio.Event()  # the client has taken one, or never will again
        self._closed = False  # by us, or the client has gone
        self._ended = False  # the client sends no more
        self._delivered = asyncio.Event()

    async def send(self, message: Message) -> None:
        """Give it to the client."""
        while self._outgoing.qsize() >= _WAITING and not self._closed:
            self._room.clear()
            await self._room.wait()
        if self._closed:
            raise Unavailable(f"stream {self.name!r} has ended")
        self._outgoing.put_nowait(pack(message))

    async def receive(self) -> Any | None:
        """The client's next message; None after its last one."""
        message = None if self._ended else await self._incoming.get()
        self._ended = message is None
        return message

    def close(self) -> None:
        """No more in either direction: what was sent arrives, then the client's call ends. Idempotent."""
        if not self._closed:
            self._closed = True
            self._outgoing.put_nowait(None)
            self._room.set()

    async def finish(self) -> None:
        """As `close`, and wait until the client has been sent everything, or has gone."""
        self.close()
        await self._delivered.wait()

    # --- the client's side, used by the edge ---

    async def pump(self, messages: AsyncIterator[Any]) -> None:
        """Take the client's messages until there are no more."""
        async for message in messages:
            await self._incoming.put(message)
        await self._incoming.put(None)

    async def outgoing(self) -> AsyncIterator[Any]:
        """What the client gets."""
        while (message := await self._outgoing.get()) is not None:
            self._room.set()
            yield message
        self._delivered.set()

    def gone(self) -> None:
        """The client is not there any more: whoever waits for it is woken."""
        self._closed = True
        self._room.set()
        self._delivered.set()
        while not self._incoming.empty():
            self._incoming.get_nowait()
        self._incoming.put_nowait(None)


class Streams:
    """All that are open, by namespace and id. Raises AlreadyExists, NotFound."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Stream] = {}

    @contextlib.contextmanager
    def opened(self, namespace: str, name: str) -> Iterator[Stream]:
        """`with streams.opened(…) as stream:` is a client's presence."""
        key = (namespace, name)
        if key in self._open:
            raise AlreadyExists(f"stream {name!r}: already exists")
        stream = self._open[key] = Stream(name)
        try:
            yield stream
        finally:
            del self._open[key]
            stream.gone()

    def get(self, namespace: str, name: str) -> Stream:
        """By its id."""
        stream = self._open.get((namespace, name))
        if stream is None:
            raise NotFound(f"stream {name!r}: not found")
        return stream
