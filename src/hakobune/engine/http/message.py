"""What handlers see: `Request`, `Response`, and `Taken` for a connection that leaves the HTTP room."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs

from hakobune.engine.schema import filters
from hakobune.errors import InvalidArgument

JSON_LIMIT = 4 << 20
_FALSE = frozenset({"", "0", "no", "false", "none"})


class Query:
    """The query string, decoded; the first value of a name counts unless `all` is asked for."""

    __slots__ = ("_values",)

    def __init__(self, text: str) -> None:
        try:
            self._values = parse_qs(text, keep_blank_values=True, max_num_fields=1000) if text else {}
        except ValueError as err:
            raise InvalidArgument(f"invalid query: {err}") from err

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str, default: str = "") -> str:
        """The value, or the default when the name is absent."""
        values = self._values.get(name)
        return values[0] if values else default

    def all(self, name: str) -> list[str]:
        """Every value of a repeated name."""
        return list(self._values.get(name, ()))

    def bool(self, name: str, default: bool = False) -> bool:
        """Docker's truth: absent gives the default; empty, 0, no, false and none are false."""
        values = self._values.get(name)
        return default if values is None else values[0].strip().lower() not in _FALSE

    def int(self, name: str, default: int = 0) -> int:
        """A whole number. Raises InvalidArgument."""
        text = self.get(name)
        if not text:
            return default
        try:
            return int(text)
        except ValueError as err:
            raise InvalidArgument(f'invalid value for "{name}": "{text}" is not a number') from err

    def filters(self) -> filters.Filters:
        """The `filters` parameter. Raises InvalidArgument."""
        return filters.parse(self.get("filters"))


class Taken(NamedTuple):
    """A connection that has left HTTP; returned by the handler that took it.

    `sock` is a non-blocking duplicate that the taker owns; `early` are the bytes that the client sent after
    its request and that were read already. Nothing was written and nothing was shut down.
    """

    sock: socket.socket
    early: bytes


class Lost(Protocol):
    """Tells that the client has gone (asyncio.Event has both)."""

    def is_set(self) -> bool:
        """Whether it has gone."""

    async def wait(self) -> object:
        """Return when it goes."""


class Connection(Protocol):
    """The connection that a request came on."""

    @property
    def lost(self) -> Lost:
        """Set when the client went away."""

    @property
    def can_take(self) -> bool:
        """False for TLS, which has to be relayed."""

    def take(self) -> Taken:
        """Leave HTTP: from now on the connection is the caller's.

        The request's body must have been read. Raises Unimplemented for TLS, Unavailable when the client has
        gone, InvalidArgument when the body is not complete.
        """

    def body(self) -> AsyncIterator[bytes]:
        """The parts of the request's body as they arrive; sends `100 Continue` where it is waited for."""


@dataclass(slots=True)
class Request:
    """One request. `path` has no version prefix and is decoded; `version` is the API version, (1, 51)."""

    method: str
    path: str
    query: Query
    headers: Mapping[str, str]
    version: tuple[int, int]
    connection: Connection
    params: Mapping[str, str] = field(default_factory=dict)

    def stream(self) -> AsyncIterator[bytes]:
        """The body in parts; raises InvalidArgument when it is cut short."""
        return self.connection.body()

    async def read(self, limit: int = JSON_LIMIT) -> bytes:
        """The whole body. Raises InvalidArgument when it is longer than `limit` bytes or cut short."""
        declared = self.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise InvalidArgument(f"request body too large: {declared} bytes, at most {limit}")
        parts = bytearray()
        async for part in self.connection.body():
            parts += part
            if len(parts) > limit:
                raise InvalidArgument(f"request body too large: more than {limit} bytes")
        return bytes(parts)

    async def json(self, limit: int = JSON_LIMIT) -> Any:
        """The body as JSON; None when there is no body. Raises InvalidArgument."""
        content = await self.read(limit)
        if not content.strip():
            return None
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as err:
            raise InvalidArgument(f"invalid JSON: {err}") from err


Header = tuple[str, str]


@dataclass(slots=True)
class Response:
    """An answer. An iterator as body is sent in chunks, each part flushed, at the client's pace."""

    status: int = 200
    body: bytes | AsyncIterator[bytes] | None = None
    headers: Sequence[Header] = ()


JSON_HEADERS: tuple[Header, ...] = (("Content-Type", "application/json"),)


def json_response(content: Any, status: int = 200) -> Response:
    """An answer in JSON, with Docker's newline at the end."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Response(status, text.encode("utf-8", "surrogateescape") + b"\n", JSON_HEADERS)


def upgrade_head(request: Request, tty: bool) -> bytes:
    """The bytes that begin a hijacked stream: 101 for clients that ask to upgrade, else an endless 200.

    `tty` chooses the raw media type; without it the stream is multiplexed (stdcopy), which clients older than
    API 1.42 know as raw-stream.
    """
    raw = tty or request.version < (1, 42)
    media = "application/vnd.docker.raw-stream" if raw else "application/vnd.docker.multiplexed-stream"
    if "upgrade" not in request.headers:
        return f"HTTP/1.1 200 OK\r\nContent-Type: {media}\r\n\r\n".encode()
    upgrade = f"Content-Type: {media}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    return b"HTTP/1.1 101 UPGRADED\r\n" + upgrade.encode()
