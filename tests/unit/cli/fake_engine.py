"""A small HTTP engine for tests of the command line: routes are functions, hijacked ones get the socket.

It keeps every request it saw, so that tests can compare what two clients send.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_VERSION = re.compile(r"^/v\d+\.\d+")


@dataclass
class Seen:
    """One request: its path without the version, its query's last values, its body."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes
    sock: socket.socket
    early: bytes = b""

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body) if self.body else None


@dataclass
class Reply:
    """What a route returns; `taken` means that it has written to the socket itself."""

    status: int = 200
    body: Any = None
    taken: bool = False


Route = Callable[[Seen], Reply]
Hako = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass
class FakeEngine:
    """Serves on a unix socket in `directory`; `routes` maps "METHOD /path-regex" to functions."""

    directory: Path
    routes: dict[str, Route] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path = self.directory / "e.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        """What -H takes."""
        return f"unix://{self.path}"

    def answer(self, route: str, body: Any = None, status: int = 200) -> None:
        """A route that always says the same."""
        self.routes[route] = lambda _: Reply(status, body)

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()

    def requests(self, method: str, path: str) -> list[Seen]:
        """What came in for this method and path."""
        return [seen for seen in self.seen if seen.method == method and re.fullmatch(path, seen.path)]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        # a client may go away in the middle
        with sock, contextlib.suppress(OSError):
            rest = b""
            while True:
                seen, rest = _read(sock, rest)
                if seen is None:
                    return
                self.seen.append(seen)
                reply = self._route(seen)
                if reply.taken:
                    return
                data = reply.body if isinstance(reply.body, bytes) else b""
                if isinstance(reply.body, str):
                    data = reply.body.encode()
                elif reply.body is not None and not data:
                    data = json.dumps(reply.body).encode()
                head = f"HTTP/1.1 {reply.status} X\r\nApi-Version: 1.50\r\nOstype: linux\r\n"
                kind = "text/plain" if isinstance(reply.body, bytes | str) else "application/json"
                head += f"Content-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
                sock.sendall(head.encode() + (b"" if seen.method == "HEAD" else data))

    def _route(self, seen: Seen) -> Reply:
        for pattern, route in self.routes.items():
            method, _, path = pattern.partition(" ")
            if method == seen.method and re.fullmatch(path, seen.path):
                return route(seen)
        if seen.path == "/_ping":
            return Reply(200, "OK")
        return Reply(404, {"message": f"no route {seen.method} {seen.path}"})


def _read(sock: socket.socket, data: bytes) -> tuple[Seen | None, bytes]:
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            return None, b""
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    method, target, _ = first.split(" ")
    split = urlsplit(target)
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        body, rest = _chunked(sock, rest)
    else:
        size = int(headers.get("content-length", "0"))
        while len(rest) < size:
            rest += sock.recv(65536)
        body, rest = rest[:size], rest[size:]
    query = {key: values[-1] for key, values in parse_qs(split.query, keep_blank_values=True).items()}
    return Seen(method, _VERSION.sub("", split.path), query, body, sock, rest), rest


def _chunked(sock: socket.socket, rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        while b"\r\n" not in rest:
            rest += _more(sock)
        line, _, rest = rest.partition(b"\r\n")
        size = int(line, 16)
        while len(rest) < size + 2:
            rest += _more(sock)
        body, rest = body + rest[:size], rest[size + 2 :]
        if size == 0:
            return body, rest


def _more(sock: socket.socket) -> bytes:
    """What comes next. Raises ConnectionResetError when the client has gone in the middle."""
    data = sock.recv(65536)
    if not data:
        raise ConnectionResetError
    return data


UPGRADED = (
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
    b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)


class FakeContainer:
    """Routes of one container `c1`: create, attach (runs `talk(sock)`), wait, start, kill, resize."""

    def __init__(self, engine: FakeEngine, talk: Callable[[socket.socket, bytes], int]) -> None:
        self.engine = engine
        self.order: list[str] = []
        self.started = threading.Event()
        self.ended = threading.Event()
        self.code = 0
        self._talk = talk
        self.start_reply = Reply(204)
        engine.routes |= {
            "POST /containers/create": self._create,
            "POST /containers/c1/attach": self._attach,
            "POST /containers/c1/wait": self._wait,
            "POST /containers/c1/start": self._start,
            "POST /containers/c1/kill": lambda _: Reply(204),
            "POST /containers/c1/resize": lambda _: Reply(200),
        }

    def _create(self, seen: Seen) -> Reply:
        self.order.append("create")
        return Reply(201, {"Id": "c1", "Warnings": []})

    def _attach(self, seen: Seen) -> Reply:
        self.order.append("attach")
        seen.sock.sendall(UPGRADED)
        self.started.wait(10)
        self.code = self._talk(seen.sock, seen.early)
        self.ended.set()
        return Reply(taken=True)

    def _wait(self, seen: Seen) -> Reply:
        self.order.append("wait")
        seen.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
        self.ended.wait(10)
        seen.sock.sendall(json.dumps({"StatusCode": self.code}).encode())
        return Reply(taken=True)

    def _start(self, seen: Seen) -> Reply:
        self.order.append("start")
        if self.start_reply.status < 400:
            self.started.set()
        else:
            self.ended.set()
        return self.start_reply
