"""A ttrpc server over asyncio for short unary calls, answered in the order that they come."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from typing import cast

from hakobune.errors import Code, HakoError
from hakobune.wire import ttrpc

Handler = Callable[[bytes], bytes]
_LOG = logging.getLogger("hakobune.ttrpc")


class _Connection(asyncio.Protocol):
    def __init__(self, server: TtrpcServer) -> None:
        self._server = server
        self._decoder = ttrpc.Decoder()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        try:
            for frame in self._decoder.feed(data):
                if frame.type == ttrpc.REQUEST:
                    response = self._server.answer(frame.data)
                    packed = ttrpc.pack_response(response)
                    self.transport.write(ttrpc.pack(ttrpc.Frame(frame.stream, ttrpc.RESPONSE, 0, packed)))
        except ValueError as err:
            _LOG.warning("a ttrpc frame is malformed: %s", err)
            self.transport.abort()


class TtrpcServer:
    """Serves `handlers`, keyed by "service/method"; a handler takes and gives payloads and never waits."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._server: asyncio.AbstractServer | None = None
        self.connections: set[_Connection] = set()

    async def listen(self, path: str) -> None:
        """Serve on a unix socket (0600) in place of whatever stood there. Raises OSError."""
        if os.path.lexists(path):
            os.unlink(path)
        before = os.umask(0o177)
        try:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(lambda: _Connection(self), path, backlog=1024)
        finally:
            os.umask(before)

    async def close(self) -> None:
        """Stop serving and end the connections."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            if connection.transport is not None:
                connection.transport.close()
        if self._server is not None:
            await self._server.wait_closed()

    def answer(self, data: bytes) -> ttrpc.Response:
        """The response to one request envelope. Raises ValueError when that is malformed."""
        request = ttrpc.unpack_request(data)
        name = f"{request.service}/{request.method}"
        handler = self._handlers.get(name)
        if handler is None:
            return ttrpc.Response(code=Code.UNIMPLEMENTED, message=f"{name} is not served")
        try:
            return ttrpc.Response(handler(request.payload))
        except HakoError as err:
            return ttrpc.Response(code=err.code, message=str(err))
        except Exception as err:
            _LOG.exception("%s failed", name)
            return ttrpc.Response(code=Code.INTERNAL, message=f"{type(err).__name__}: {err}")
