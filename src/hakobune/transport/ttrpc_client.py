"""A ttrpc client over asyncio: many calls under way on one connection, answered in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from hakobune.errors import DeadlineExceeded, InvalidArgument, Unavailable, from_code
from hakobune.wire import ttrpc


class TtrpcClient(asyncio.Protocol):
    """One connection. `on_lost` is called once when it ends without `close`."""

    def __init__(self, on_lost: Callable[[], None] | None = None) -> None:
        self.on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._decoder = ttrpc.Decoder()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._next = 1
        self._closed = False

    @classmethod
    async def connect(cls, path: str, on_lost: Callable[[], None] | None = None) -> TtrpcClient:
        """Connect to a unix socket. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        try:
            _transport, client = await loop.create_unix_connection(lambda: cls(on_lost), path)
        except OSError as err:
            raise Unavailable(f"ttrpc socket {path}: {err.strerror or err}") from err
        return client

    @property
    def connected(self) -> bool:
        """Whether calls can be made."""
        return self._transport is not None and not self._closed

    async def call(
        self,
        service: str,
        method: str,
        payload: bytes,
        timeout: float = 0,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> bytes:
        """One call; the answer's payload. `timeout` in seconds, 0 for none; `metadata` is pairs of key and value.

        Raises the HakoError that the other side sends, Unavailable when the connection ends first,
        DeadlineExceeded after `timeout`. Cancelled, the answer is dropped when it comes.
        """
        if self._transport is None or self._closed:
            raise Unavailable(f"{method}: the ttrpc connection is closed")
        stream, self._next = self._next, self._next + 2
        request = ttrpc.Request(service, method, payload, int(timeout * 1e9), metadata)
        try:
            packet = ttrpc.pack(ttrpc.Frame(stream, ttrpc.REQUEST, 0, ttrpc.pack_request(request)))
        except ValueError as err:
            raise InvalidArgument(str(err)) from err
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[stream] = answer
        self._transport.write(packet)
        try:
            return await (asyncio.wait_for(answer, timeout) if timeout else answer)
        except TimeoutError:
            raise DeadlineExceeded(f"{method}: no answer within {timeout:g} s") from None
        finally:
            self._waiting.pop(stream, None)

    def close(self) -> None:
        """End the connection; calls under way raise Unavailable. `on_lost` is not called."""
        self._closed = True
        if self._transport is not None:
            self._transport.close()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand answers to their callers; a malformed frame ends the connection."""
        try:
            for frame in self._decoder.feed(data):
                if frame.type == ttrpc.RESPONSE:
                    self._answered(frame.stream, ttrpc.unpack_response(frame.data))
        except ValueError:
            if self._transport is not None:
                self._transport.abort()

    def _answered(self, stream: int, response: ttrpc.Response) -> None:
        waiting = self._waiting.pop(stream, None)
        if waiting is None or waiting.done():
            return
        if response.code:
            waiting.set_exception(from_code(response.code, response.message))
        else:
            waiting.set_result(response.payload)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits, tell the owner."""
        self._transport = None
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable("the ttrpc connection has ended"))
        if not self._closed and self.on_lost is not None:
            self._closed = True
            self.on_lost()
