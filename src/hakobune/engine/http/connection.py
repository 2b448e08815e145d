"""One client's connection: requests parsed by h11, answers written here, and the way out for a hijacked one.

Each request has an h11 object of its own, so whatever came after the request stays whole in its
`trailing_data`: the next request, or the first bytes of a hijacked stream. From the moment a request is
complete nothing more is read, so that late bytes wait in the kernel for whoever gets the socket; that the
client has gone is learnt from `hangups`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import cast
from urllib.parse import unquote

import h11

from hakobune.engine.http.errors import error_response, status_of
from hakobune.engine.http.hangups import Hangups
from hakobune.engine.http.message import Query, Request, Response, Taken
from hakobune.engine.http.router import MAX_VERSION, Route, Router, split_version, version_text
from hakobune.errors import HakoError, InvalidArgument, NotFound, Unavailable, Unimplemented

HEAD_LIMIT = 64 * 1024  # bytes of a request line and its headers
GRACE_SECONDS = 1.0  # a client that has only half-closed still gets the answer to a quick question
LINGER_SECONDS = 1.0  # a client that is still sending gets this long to see why nobody listens
_REASONS = {
    200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified", 400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 499: "Client Closed Request",
    500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip
_BODILESS = frozenset({204, 304})


class HttpConnection(asyncio.Protocol):
    """Serves one connection with `router`; `common` are header lines that every answer carries."""

    def __init__(
        self, router: Router, common: bytes, hangups: Hangups, closed: Callable[[HttpConnection], None]
    ) -> None:
        self._router = router
        self._common = common
        self._hangups = hangups
        self._closed = closed
        self._fd = -1
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        self._transport: asyncio.Transport
        self._made = False  # asyncio makes us one turn of the loop before there is a transport
        self._task: asyncio.Task[None] | None = None
        self._interruptible = True  # what runs now may be cancelled when the client goes
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._complete = False  # the request's body has been read to its end
        self._expects = False  # the client waits for 100 Continue
        self._ended = False  # the client sends no more, and we have read all
        self._grace: asyncio.TimerHandle | None = None
        self._lingering = False  # what comes now is thrown away
        self._chunks = True  # the client understands them
        self._taken = False
        self._close_after = False
        self.lost = asyncio.Event()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client."""
        self._transport = cast("asyncio.Transport", transport)
        self._made = True
        if self._close_after:  # the server ended in between
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=0)  # `_room` means that nothing is left unsent
        self._fd = transport.get_extra_info("socket").fileno()
        self._hangups.watch(self._fd, self._hung_up)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self._lingering:
            return
        self._parser.receive_data(data)
        if self._task is None:
            self._next_request()
        else:
            self._hold()
            self._arrived.set()

    def eof_received(self) -> bool:
        """The client sends no more; True keeps our half open for the answer."""
        self._ended = True
        if self._lingering:
            return False
        self._parser.receive_data(b"")
        self._arrived.set()
        if self._task is None:
            self._next_request()
            return self._task is not None
        self._hung_up(False)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or the connection was taken."""
        self._hangups.forget(self._fd)
        if self._grace is not None:
            self._grace.cancel()
        self._closed(self)
        if not self._taken:
            self._ended = True
            self._arrived.set()
            self._gone()
        self._room.set()

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self._room.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._room.set()

    def _hung_up(self, whole: bool) -> None:
        """The client sends no more; when `whole`, it does not listen either."""
        if whole:
            self._gone()
        elif self._grace is None:
            self._grace = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._gone)

    def _gone(self) -> None:
        if self._taken or self.lost.is_set():
            return
        self.lost.set()
        if self._task is not None and self._interruptible:
            self._task.cancel()

    def _hold(self) -> None:
        """Read no more until somebody wants it."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    # --- requests ---

    def _next_request(self) -> None:
        """Start on what has been parsed; wait for more when it is not whole."""
        try:
            event = self._parser.next_event()
        except h11.RemoteProtocolError as err:
            self._refuse(400, f"malformed request: {err}")
            return
        if isinstance(event, h11.Request):
            if _length(event) > HEAD_LIMIT:
                self._refuse(400, "malformed request: its headers are too long")
                return
            self._hold()
            self._task = asyncio.get_running_loop().create_task(self._serve(event))
        elif self._ended or isinstance(event, h11.ConnectionClosed):
            self._transport.close()

    def _refuse(self, status: int, message: str) -> None:
        self._write_whole(error_response(status, message), head=False, close=True)
        self._part()

    async def _serve(self, event: h11.Request) -> None:
        head = event.method == b"HEAD"
        try:
            answer = await self._answer(event)
            self._interruptible = True
            if isinstance(answer, Taken) or self._taken:
                return
            await self._send(answer, head=head)
        except asyncio.CancelledError:
            self._transport.abort()
            return
        except Exception:
            traceback.print_exc(file=sys.stderr)
            self._transport.abort()
            return
        self._task = None
        self._finish()

    async def _answer(self, event: h11.Request) -> Response | Taken:
        try:
            request = self._request(event)
            route, request.params = self._find(request)
            self._interruptible = not route.uninterrupted
            if self.lost.is_set() and self._interruptible:
                raise asyncio.CancelledError
            return await route.handler(request)
        except HakoError as err:
            return error_response(status_of(err), str(err))
        except OSError as err:
            name = f"{err.filename}: " if err.filename else ""
            return error_response(500, f"{name}{err.strerror or err}")
        except Exception as err:
            traceback.print_exc(file=sys.stderr)
            return error_response(500, f"internal error: {type(err).__name__}: {err}")

    def _find(self, request: Request) -> tuple[Route, Mapping[str, str]]:
        """A HEAD that has no route of its own is answered as a GET without its body."""
        try:
            return self._router.find(request.method, request.path)
        except NotFound:
            if request.method != "HEAD":
                raise
            return self._router.find("GET", request.path)

    def _request(self, event: h11.Request) -> Request:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        self._expects = headers.get("expect", "").lower() == "100-continue"
        self._chunks = event.http_version != b"1.0"
        words = {word.strip() for word in headers.get("connection", "").lower().split(",")}
        self._close_after = self._close_after or "close" in words or not self._chunks
        target, _, query = _origin_form(event.target.decode("latin-1")).partition("?")
        version, path = split_version(target)
        return Request(event.method.decode(), unquote(path), Query(query), headers, version, self)

    # --- what a request may ask of its connection ---

    @property
    def can_take(self) -> bool:
        """False for TLS."""
        return self._transport.get_extra_info("ssl_object") is None

    def take(self) -> Taken:
        """Leave HTTP; see message.Connection."""
        if not self.can_take:
            raise Unimplemented("a TLS connection cannot be handed over")
        if self.lost.is_set() or self._transport.is_closing():
            raise Unavailable("the client has gone")
        self._drain_now()
        if not self._complete:
            raise InvalidArgument("the request's body is not complete")
        if not self._room.is_set():
            raise Unavailable("the client does not read")
        self._hangups.forget(self._fd)
        early, _ended = self._parser.trailing_data
        theirs = self._transport.get_extra_info("socket")
        ours = socket.socket(fileno=os.dup(theirs.fileno()))
        ours.setblocking(False)
        self._taken = True
        self._transport.abort()
        return Taken(ours, early)

    def _drain_now(self) -> None:
        """What is left of the body and has arrived already, as an empty one has."""
        while not self._complete:
            event = self._event()
            if event is h11.NEED_DATA:
                return
            if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                self._complete = True

    def _event(self) -> object:
        try:
            return self._parser.next_event()
        except h11.RemoteProtocolError as err:
            self._close_after = True
            raise InvalidArgument(f"malformed request body: {err}") from err

    async def body(self) -> AsyncIterator[bytes]:
        """The body's parts as they arrive. Raises InvalidArgument when it is cut short."""
        while not self._complete:
            event = self._event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._complete = True
            elif event is h11.NEED_DATA:
                await self._more()
            else:
                self._close_after = True
                raise InvalidArgument("the request was cut short")

    async def _more(self) -> None:
        if self._ended:
            self._close_after = True
            raise InvalidArgument("the request was cut short: its body is not complete")
        if self._expects:
            self._expects = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._arrived.clear()
        self._transport.resume_reading()
        await self._arrived.wait()

    # --- answers ---

    async def _send(self, answer: Response, *, head: bool) -> None:
        if answer.body is None or isinstance(answer.body, bytes):
            self._write_whole(answer, head=head, close=self._must_close())
        elif head:
            blank = Response(answer.status, b"", answer.headers)
            self._write_whole(blank, head=True, close=self._must_close())
        else:
            await self._stream(answer, answer.body)
        await self._room.wait()

    def _must_close(self) -> bool:
        """A body that nobody read would be taken for the next request."""
        try:
            self._drain_now()
        except InvalidArgument:
            return True
        return self._close_after or not self._complete

    def _head(self, answer: Response, extra: str, *, close: bool) -> bytes:
        lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Unknown')}\r\n", extra]
        lines += [f"{name}: {value}\r\n" for name, value in answer.headers]
        if close:
            lines.append("Connection: close\r\n")
        return "".join(lines).encode("latin-1", "replace") + self._common + b"\r\n"

    def _write_whole(self, answer: Response, *, head: bool, close: bool) -> None:
        content = answer.body if isinstance(answer.body, bytes) else b""
        extra = "" if answer.status in _BODILESS else f"Content-Length: {len(content)}\r\n"
        self._close_after = close
        self._transport.write(self._head(answer, extra, close=close) + (b"" if head else content))

    async def _stream(self, answer: Response, parts: AsyncIterator[bytes]) -> None:
        """In chunks, at the client's pace; a failure half-way ends without the last chunk, so it can be seen."""
        extra = "Transfer-Encoding: chunked\r\n" if self._chunks else ""
        self._close_after = self._must_close()
        self._transport.write(self._head(answer, extra, close=self._close_after))
        try:
            async for part in parts:
                if part:
                    self._transport.write(b"%x\r\n%s\r\n" % (len(part), part) if self._chunks else part)
                    await self._room.wait()
        except (HakoError, OSError) as err:
            print(f"hakod: an answer was cut short: {err}", file=sys.stderr)
            self._transport.abort()
            return
        finally:
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()
        if self._chunks:
            self._transport.write(b"0\r\n\r\n")

    def _finish(self) -> None:
        """After an answer: the next request of this connection, or its end."""
        if self._transport.is_closing():
            return
        rest, _ended = self._parser.trailing_data
        if self._close_after or (self._ended and not rest):
            self._part()
            return
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        self._complete = self._expects = False
        self._transport.resume_reading()
        if rest:
            self._parser.receive_data(rest)
        if self._ended:
            self._parser.receive_data(b"")
        if rest:
            self._next_request()

    def _part(self) -> None:
        """Close. While a client still sends, that would destroy the answer it has not read: it gets a moment."""
        if self._ended or self._complete:
            self._transport.close()
            return
        self._lingering = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.close)

    def drop(self) -> None:
        """The server ends: idle connections go at once, others after their answer."""
        if self._made and self._task is None:
            self._transport.close()
        else:
            self._close_after = True

    def abort(self) -> None:
        """Close without waiting for anything."""
        if not self._made:
            self._close_after = True
            return
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()


def _length(event: h11.Request) -> int:
    """Bytes of a request line and its headers; h11 counts only those that are not complete."""
    return len(event.target) + sum(len(name) + len(value) + 4 for name, value in event.headers)


def _origin_form(target: str) -> str:
    """The path of a target that names the host as well, as proxies' clients write it."""
    if not target.startswith("http://"):
        return target
    return "/" + target.removeprefix("http://").partition("/")[2]


def common_headers(server: str) -> bytes:
    """Header lines of every answer."""
    words = f"Api-Version: {version_text(MAX_VERSION)}\r\nDocker-Experimental: false\r\nOstype: linux\r\nServer: {server}\r\n"
    return words.encode()
