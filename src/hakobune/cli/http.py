"""A small HTTP/1.1 client for an engine's socket: requests, streamed bodies, hijacked connections.

`http.client` costs 25 ms to import, which is more than a whole `hako ps` should take. This one knows what
Docker's API uses and nothing else: one request at a time per connection, content-length or chunked or
until-close bodies, and upgrades that give the raw socket away with the bytes already read.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator

from .failure import ApiFailure, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # 3 ms that no command should pay

_SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/")
_MOST_HEAD = 1 << 20
_BLOCK = 1 << 16


def quote(text: str, *, safe: str = "") -> str:
    """Percent-encode for a path or a query value."""
    keep = _SAFE | frozenset(safe.encode())
    return "".join(chr(b) if b in keep else f"%{b:02X}" for b in text.encode())


def query(**values: Any) -> str:
    """`?a=1&b=…` of the values that are not None; True is 1, False is 0, a dict or list goes as JSON."""
    parts = []
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, bool):
            value = int(value)
        elif isinstance(value, dict | list):
            value = json.dumps(value, separators=(",", ":"))
        parts.append(f"{name}={quote(str(value)).replace('/', '%2F')}")
    return "?" + "&".join(parts) if parts else ""


class Response:
    """A response whose body is read on demand; `sock` and `early` belong to whoever hijacks it."""

    def __init__(self, sock: socket.socket, status: int, headers: dict[str, str], early: bytes) -> None:
        self.sock = sock
        self.status = status
        self.headers = headers
        self.early = early

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives; closes the connection when done or dropped."""
        try:
            yield from self._body()
        finally:
            self.sock.close()

    def read(self) -> bytes:
        """Return the whole body and close."""
        return b"".join(self.chunks())

    def lines(self) -> Iterator[Any]:
        """Yield each JSON document of a stream of documents."""
        decoder, rest = json.JSONDecoder(), ""
        for chunk in self.chunks():
            rest += chunk.decode("utf-8", "surrogateescape")
            while rest := rest.lstrip():
                try:
                    value, end = decoder.raw_decode(rest)
                except ValueError:
                    break
                rest = rest[end:]
                yield value

    def _body(self) -> Iterator[bytes]:
        if self.status in (204, 304):
            return
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunked()
            return
        length = self.headers.get("content-length")
        left = int(length) if length is not None else None
        while left is None or left > 0:
            data = self._more()
            if not data:
                if left:
                    raise Failure("the engine closed the connection in the middle of its answer")
                return
            if left is not None:
                data = data[:left]
                left -= len(data)
            yield data

    def _more(self) -> bytes:
        if self.early:
            data, self.early = self.early, b""
            return data
        return self.sock.recv(_BLOCK)

    def _line(self) -> bytes:
        while b"\r\n" not in self.early:
            data = self.sock.recv(_BLOCK)
            if not data:
                raise Failure("the engine closed the connection in the middle of its answer")
            self.early += data
        line, _, self.early = self.early.partition(b"\r\n")
        return line

    def _chunked(self) -> Iterator[bytes]:
        while size := int(self._line().split(b";")[0], 16):
            while size:
                data = self._more()
                if not data:
                    raise Failure("the engine closed the connection in the middle of its answer")
                data, rest = data[:size], data[size:]
                self.early = rest + self.early
                size -= len(data)
                yield data
            self._line()
        self._line()


class Client:
    """Opens one connection per request to `host` (unix://PATH or tcp://HOST:PORT)."""

    def __init__(self, host: str) -> None:
        self.host = host

    def connect(self) -> socket.socket:
        """Raises Failure with a sentence that says how to start an engine."""
        scheme, _, where = self.host.partition("://")
        try:
            if scheme == "unix":
                sock = socket.socket(socket.AF_UNIX)
                try:
                    sock.connect(where)
                except BaseException:
                    sock.close()
                    raise
                return sock
            if scheme in ("tcp", "http"):
                name, _, port = where.partition("/")[0].rpartition(":")
                return socket.create_connection((name.strip("[]") or "127.0.0.1", int(port or 2375)))
        except PermissionError as err:
            raise Failure(f"permission denied on the engine's socket {where}: run this as root") from err
        except (OSError, ValueError) as err:
            raise Failure(
                f"cannot reach the engine at {self.host} ({_reason(err)}): is it running? Start it with: hakod"
            ) from err
        raise Failure(f"host {self.host!r} is not understood: use unix:///path or tcp://host:port")

    def open(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        stream: Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        upgrade: bool = False,
        fine: tuple[int, ...] = (),
    ) -> Response:
        """Send one request and read the response's head.

        `body` goes as JSON, `stream` chunked. Raises ApiFailure for a status of 400 and above unless it is in
        `fine`. With `upgrade` a 101 or 200 leaves the connection in the caller's hands.
        """
        sock = self.connect()
        try:
            lines = [f"{method} {path} HTTP/1.1", "Host: hakobune", "User-Agent: hako/0.1"]
            lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
            lines += ["Connection: Upgrade", "Upgrade: tcp"] if upgrade else ["Connection: close"]
            data = b""
            if body is not None:
                data = json.dumps(body).encode()
                lines.append("Content-Type: application/json")
            if stream is not None:
                lines.append("Transfer-Encoding: chunked")
            elif body is not None or method in ("POST", "PUT"):
                lines.append(f"Content-Length: {len(data)}")
            head = "\r\n".join(lines).encode() + b"\r\n\r\n"
            try:
                sock.sendall(head + data)
                if stream is not None:
                    _send_chunks(sock, stream)
            except (BrokenPipeError, ConnectionResetError):
                pass  # an engine that refuses early has its answer waiting
            response = _read_head(sock)
            if response.status >= 400 and response.status not in fine:
                bare = method == "HEAD"  # its answer has no body, whatever length it tells
                raise ApiFailure(
                    response.status, f"{path}: status {response.status}" if bare else _message(response)
                )
            return response
        except OSError as err:
            sock.close()
            raise Failure(f"the connection to the engine broke: {_reason(err)}") from err
        except BaseException:
            sock.close()
            raise

    def call(self, method: str, path: str, body: Any = None, *, fine: tuple[int, ...] = ()) -> Any:
        """One request and its decoded answer: JSON where the engine says so, else text."""
        response = self.open(method, path, body=body, fine=fine)
        data = response.read()
        if not data:
            return None
        if "json" in response.headers.get("content-type", ""):
            return json.loads(data)
        return data.decode("utf-8", "replace")

    def get(self, path: str) -> Any:
        """GET and decode."""
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        """POST and decode; 304 (already so) is no error."""
        return self.call("POST", path, body)

    def delete(self, path: str) -> Any:
        """DELETE and decode."""
        return self.call("DELETE", path)


def _reason(err: Exception) -> str:
    return (getattr(err, "strerror", None) or str(err)).lower()


def _send_chunks(sock: socket.socket, stream: Iterable[bytes]) -> None:
    for block in stream:
        if block:
            sock.sendall(b"%x\r\n" % len(block) + block + b"\r\n")
    sock.sendall(b"0\r\n\r\n")


def _read_head(sock: socket.socket) -> Response:
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            data = sock.recv(_BLOCK)
            if not data or len(buffer) > _MOST_HEAD:
                raise Failure("the engine closed the connection without an answer")
            buffer += data
        head, _, buffer = buffer.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ", 2)[1])
        if status == 100:
            continue
        headers = {}
        for line in rest:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return Response(sock, status, headers, buffer)


def _message(response: Response) -> str:
    data = response.read().decode("utf-8", "replace").strip()
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return data or f"status {response.status}"
