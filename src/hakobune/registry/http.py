"""HTTP/1.1 as a client: kept connections, TLS, proxies; redirects are the caller's to follow.

`Http` keeps idle connections by origin. An `Answer` has its head at once and its body as it is read; one that is read to
its end gives the connection back, one that is closed before gives it up. Bodies are never kept whole unless `read`
is asked to, and then with a limit. Imports: errors; h11, ssl.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

import h11

from hakobune.errors import FailedPrecondition, InvalidArgument, Unavailable
from hakobune.registry.proxies import Proxy, proxy_for
from hakobune.version import VERSION

CONNECT_SECONDS = 30.0
HEAD_SECONDS = 120.0  # a registry may check gigabytes before it answers
IDLE_SECONDS = 60.0  # without a byte of a body
KEPT = 4  # idle connections to one origin
_BUFFER = 1 << 20
_READ = 1 << 18
_PORTS = {"http": 80, "https": 443}

Body = bytes | AsyncIterator[bytes] | None


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server is known: files of further authorities, (certificate, key) pairs of ours, or not at all."""

    authorities: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection goes to."""

    scheme: str
    host: str
    port: int
    tls: Tls = field(default_factory=Tls)


@lru_cache(maxsize=32)
def _context(tls: Tls) -> ssl.SSLContext:
    try:
        made = ssl.create_default_context()
        for path in tls.authorities:
            made.load_verify_locations(path)
        for certificate, key in tls.pairs:
            made.load_cert_chain(certificate, key or None)
    except (OSError, ssl.SSLError) as err:
        name = getattr(err, "filename", None)
        raise FailedPrecondition(f"TLS: {name or ', '.join(tls.authorities)}: {err}") from err
    if tls.skip_verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def split(url: str, tls: Tls) -> tuple[Origin, str]:
    """(origin, path with query). Raises InvalidArgument for what is no http or https URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidArgument(f"registry: {url!r} is not a URL") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        raise InvalidArgument(f"registry: {url!r} is not a http or https URL of a registry")
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    if not target.isascii() or any(char <= " " for char in target):
        raise InvalidArgument(f"registry: {url!r} is not a URL")
    return Origin(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], tls), target


class _Connection:
    """One connection with at most one exchange under way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, prefix: str) -> None:
        self.reader = reader
        self.writer = writer
        self.prefix = prefix  # of the target, through a proxy that wants whole URLs
        self.proxy_header = ""
        self.used = False
        self.parser = h11.Connection(h11.CLIENT)

    async def send(self, event: h11.Event) -> None:
        data = self.parser.send(event)
        if data:
            self.writer.write(data)
            await asyncio.wait_for(self.writer.drain(), IDLE_SECONDS)

    async def event(self, seconds: float) -> object:
        """The next one. Raises Unavailable when the other side goes, stays silent or talks nonsense."""
        try:
            while (found := self.parser.next_event()) is h11.NEED_DATA:
                self.parser.receive_data(await self.receive(_READ, seconds))
        except h11.RemoteProtocolError as err:
            raise Unavailable(f"malformed or cut answer: {err}") from err
        return found

    async def receive(self, most: int, seconds: float) -> bytes:
        """Bytes, none at the end. Raises Unavailable."""
        try:
            async with asyncio.timeout(seconds):
                return await self.reader.read(most)
        except TimeoutError:
            raise Unavailable(f"no answer within {seconds:g} seconds") from None
        except (OSError, ssl.SSLError) as err:
            raise Unavailable(f"connection lost: {err}") from err

    def close(self) -> None:
        self.writer.transport.abort()


@dataclass
class Answer:
    """Head of an answer; header names in lower case. `async with` closes it."""

    status: int
    headers: Mapping[str, str]
    url: str
    _http: Http
    _origin: Origin
    _connection: _Connection
    challenges: tuple[str, ...] = ()
    _left: int = -1  # of a body whose length was told; -1 when h11 has to find its end
    _kept: bool = True  # the other side does not say that it will close
    _whole: bool = False

    @property
    def length(self) -> int:
        """Of the body as declared; -1 when it is not."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() else -1

    async def parts(self) -> AsyncIterator[bytes]:
        """The body. Raises Unavailable when it is cut."""
        if self._left >= 0:
            async for part in self._plain():
                yield part
            return
        while not self._whole:
            event = await self._connection.event(IDLE_SECONDS)
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._whole = True
            else:
                raise Unavailable("the connection was closed in the middle of the answer")

    async def _plain(self) -> AsyncIterator[bytes]:
        """A body of known length, past h11, which would copy each byte twice."""
        early = self._connection.parser.trailing_data[0]
        if early and self._left:
            self._kept = self._kept and len(early) <= self._left
            part = early[: self._left]
            self._left -= len(part)
            yield part
        while self._left:
            part = await self._connection.receive(min(self._left, _READ), IDLE_SECONDS)
            if not part:
                raise Unavailable("the connection was closed in the middle of the answer")
            self._left -= len(part)
            yield part
        self._whole = True

    async def read(self, limit: int) -> bytes:
        """All of the body. Raises InvalidArgument when it is longer than `limit`."""
        found = bytearray()
        async for part in self.parts():
            found += part
            if len(found) > limit:
                raise InvalidArgument(f"the answer is longer than {limit} bytes")
        return bytes(found)

    async def beginning(self, limit: int) -> bytes:
        """At most so many bytes of the body, for the words of an error."""
        found = bytearray()
        with contextlib.suppress(Unavailable):
            async for part in self.parts():
                found += part
                if len(found) >= limit:
                    break
        return bytes(found[:limit])

    def close(self) -> None:
        """Give the connection back when it can be used again."""
        self._http.done(self._origin, self._connection, whole=self._whole and self._kept)

    async def __aenter__(self) -> Answer:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()


class Http:
    """Connections of one client; `close` ends the idle ones."""

    def __init__(self) -> None:
        self._idle: dict[Origin, list[_Connection]] = {}
        self._closed = False

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], *, tls: Tls | None = None, body: Body = None,
        length: int = 0,
    ) -> Answer:  # fmt: skip
        """One exchange up to the answer's head; `length` of a body that comes in parts.

        Raises Unavailable, InvalidArgument for a URL that is none, FailedPrecondition for TLS files that are none.
        """
        origin, target = split(url, tls or Tls())
        while True:
            connection = await self._connection(origin)
            try:
                return await self._exchange(connection, origin, method, target, url, headers, body, length)
            except Unavailable as err:
                connection.close()
                if not connection.used or not (body is None or isinstance(body, bytes)):
                    raise Unavailable(f"{origin.host}:{origin.port}: {err}") from err
                # a kept connection that the other side has closed meanwhile: once more, on another
            except BaseException:
                connection.close()
                raise

    async def _exchange(
        self, connection: _Connection, origin: Origin, method: str, target: str, url: str,
        headers: Mapping[str, str], body: Body, length: int,
    ) -> Answer:  # fmt: skip
        lines = {
            "Host": _authority(origin),
            "User-Agent": f"hakobune/{VERSION}",
            "Accept-Encoding": "identity",
            **headers,
        }
        if isinstance(body, bytes):
            length = len(body)
        if body is not None or method in ("POST", "PUT", "PATCH"):
            lines["Content-Length"] = str(length)
        if connection.proxy_header:
            lines["Proxy-Authorization"] = connection.proxy_header
        try:
            request = h11.Request(
                method=method, target=connection.prefix + target, headers=list(lines.items())
            )
            await connection.send(request)
            if isinstance(body, bytes):
                await connection.send(h11.Data(data=body))
            elif body is not None:
                async for part in body:
                    await connection.send(h11.Data(data=part))
            await connection.send(h11.EndOfMessage())
        except h11.LocalProtocolError as err:
            raise InvalidArgument(f"request to {origin.host}: {err}") from err
        except (OSError, TimeoutError) as err:
            raise Unavailable(f"connection lost while sending: {err}") from err
        return await self._head(connection, origin, url, method)

    async def _head(self, connection: _Connection, origin: Origin, url: str, method: str) -> Answer:
        while True:
            event = await connection.event(HEAD_SECONDS)
            if isinstance(event, h11.InformationalResponse):
                continue
            if not isinstance(event, h11.Response):
                raise Unavailable("the connection was closed without an answer")
            headers: dict[str, str] = {}
            challenges = []
            for raw_name, raw_value in event.headers:
                name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
                headers.setdefault(name, value)
                if name == "www-authenticate":
                    challenges.append(value)
            answer = Answer(event.status_code, headers, url, self, origin, connection, tuple(challenges))
            bodiless = method == "HEAD" or event.status_code in (204, 304)
            if not bodiless and "transfer-encoding" not in headers:
                answer._left = answer.length
            answer._whole = bodiless or answer._left == 0
            closing = "close" in headers.get("connection", "").lower() or event.http_version < b"1.1"
            answer._kept = not closing
            return answer

    async def _connection(self, origin: Origin) -> _Connection:
        kept = self._idle.get(origin)
        while kept:
            connection = kept.pop()
            if not connection.reader.at_eof():
                connection.used = True
                return connection
            connection.close()
        return await connect(origin)

    def done(self, origin: Origin, connection: _Connection, *, whole: bool) -> None:
        """An exchange is over."""
        kept = self._idle.setdefault(origin, [])
        if whole and not self._closed and len(kept) < KEPT and connection.parser.our_state is h11.DONE:
            connection.parser = h11.Connection(h11.CLIENT)
            kept.append(connection)
            return
        connection.close()

    def close(self) -> None:
        """No more idle connections."""
        self._closed = True
        for kept in self._idle.values():
            for connection in kept:
                connection.close()
        self._idle.clear()


def _authority(origin: Origin) -> str:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return host if origin.port == _PORTS[origin.scheme] else f"{host}:{origin.port}"


async def connect(origin: Origin) -> _Connection:
    """A new connection, through a proxy when the environment says so. Raises Unavailable."""
    proxy = proxy_for(origin.scheme, origin.host, origin.port)
    where = f"{origin.host}:{origin.port}"
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            if proxy is not None:
                return await _through(proxy, origin)
            context = _context(origin.tls) if origin.scheme == "https" else None
            reader, writer = await asyncio.open_connection(
                origin.host, origin.port, ssl=context, limit=_BUFFER
            )
            return _Connection(reader, writer, "")
    except TimeoutError:
        raise Unavailable(f"dial tcp {where}: no connection within {CONNECT_SECONDS:g} seconds") from None
    except ssl.SSLCertVerificationError as err:
        raise Unavailable(f"tls: failed to verify certificate of {where}: {err.verify_message}") from err
    except ssl.SSLError as err:
        raise Plain(f"tls: {where}: {err.reason or err}") from err
    except OSError as err:
        raise Unavailable(f"dial tcp {where}: {_reason(err)}") from err


def _reason(err: OSError) -> str:
    """The kernel's words, which clients know; asyncio has its own."""
    if isinstance(err, socket.gaierror):
        return f"lookup: no such host: {err.strerror}"
    return f"connect: {os.strerror(err.errno).lower()}" if err.errno else str(err)


class Plain(Unavailable):
    """The other side does not speak TLS, or not ours."""


async def _through(proxy: Proxy, origin: Origin) -> _Connection:
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port, limit=_BUFFER)
    if origin.scheme == "http":
        connection = _Connection(reader, writer, f"http://{_authority(origin)}")
        connection.proxy_header = proxy.header
        return connection
    connection = _Connection(reader, writer, "")
    where = f"{origin.host}:{origin.port}"
    headers = [("Host", where)] + ([("Proxy-Authorization", proxy.header)] if proxy.header else [])
    try:
        await connection.send(h11.Request(method="CONNECT", target=where, headers=headers))
        await connection.send(h11.EndOfMessage())
        event = await connection.event(CONNECT_SECONDS)
        if not isinstance(event, h11.Response) or event.status_code != 200:
            status = getattr(event, "status_code", "nothing")
            raise Unavailable(f"proxy {proxy.host}:{proxy.port} refuses {where}: {status}")
        await writer.start_tls(_context(origin.tls), server_hostname=origin.host)
    except BaseException:
        connection.close()
        raise
    return _Connection(reader, writer, "")
