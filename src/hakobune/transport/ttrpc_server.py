"""A ttrpc server over asyncio for unary calls: those that wait for nothing are answered in the order that they come."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast

from hakobune.errors import Code, HakoError, Unavailable
from hakobune.wire import ttrpc

Handler = Callable[[ttrpc.Request], bytes | Coroutine[Any, Any, bytes]]
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
                    self._server.serve(self, frame)
        except ValueError as err:
            _LOG.warning("a ttrpc frame is malformed: %s", err)
            self.transport.abort()

    def answer(self, stream: int, response: ttrpc.Response) -> None:
        """Send it, unless the caller has gone."""
        assert self.transport is not None
        packed = ttrpc.pack_response(response)
        if len(packed) > ttrpc.MAX_DATA:
            text = f"the answer of {len(packed)} bytes is longer than ttrpc carries"
            packed = ttrpc.pack_response(ttrpc.Response(code=Code.RESOURCE_EXHAUSTED, message=text))
        self.transport.write(ttrpc.pack(ttrpc.Frame(stream, ttrpc.RESPONSE, 0, packed)))


class TtrpcServer:
    """Serves `handlers`, keyed by "service/method", that give the answer's payload.

    A handler that gives a coroutine may wait: it begins when `open` was called, goes on to its end also when
    its caller goes away, and none begins after `settle`. The others are served from `listen` to `close`.
    """

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._server: asyncio.AbstractServer | None = None
        self._opened = asyncio.Event()
        self._settling = False
        self._running: set[asyncio.Task[None]] = set()
        self.connections: set[_Connection] = set()

    def open(self) -> None:
        """Let the handlers that wait begin."""
        self._opened.set()

    async def settle(self, seconds: float) -> None:
        """Refuse new work, and wait for what is under way, at most that long."""
        self._settling = True
        self._opened.set()
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

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

    def serve(self, connection: _Connection, frame: ttrpc.Frame) -> None:
        """Answer one request, now or when its handler has ended. Raises ValueError when it is malformed."""
        request = ttrpc.unpack_request(frame.data)
        name = f"{request.service}/{request.method}"
        handler = self._handlers.get(name)
        if handler is None:
            response = ttrpc.Response(code=Code.UNIMPLEMENTED, message=f"{name} is not served")
            return connection.answer(frame.stream, response)
        try:
            found = handler(request)
        except Exception as err:
            return connection.answer(frame.stream, _failure(name, err))
        if isinstance(found, bytes):
            return connection.answer(frame.stream, ttrpc.Response(found))
        task = asyncio.get_running_loop().create_task(self._later(connection, frame.stream, name, found))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _later(
        self, connection: _Connection, stream: int, name: str, work: Coroutine[Any, Any, bytes]
    ) -> None:
        try:
            if not self._opened.is_set():
                await self._opened.wait()
            if self._settling:
                work.close()
                raise Unavailable(f"{name}: the server ends")
            response = ttrpc.Response(await work)
        except Exception as err:
            response = _failure(name, err)
        connection.answer(stream, response)


def _failure(name: str, err: Exception) -> ttrpc.Response:
    if isinstance(err, HakoError):
        return ttrpc.Response(code=err.code, message=str(err))
    _LOG.error("%s failed", name, exc_info=err)
    return ttrpc.Response(code=Code.INTERNAL, message=f"{type(err).__name__}: {err}")
