"""A server of a few routes in a thread of its own; tests talk to it over real sockets, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from hakobune.engine.http.message import Request, Response, Taken, json_response
from hakobune.engine.http.router import Route, Router
from hakobune.engine.http.server import Server
from hakobune.errors import Conflict, NotFound, NotModified

SECONDS = 10.0


class Client:
    """One end of a connection: bytes out, answers in."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(SECONDS)
        self._held = b""

    def send(self, data: bytes) -> None:
        """All of it."""
        self.sock.sendall(data)

    def half_close(self) -> None:
        """Send no more."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Be gone."""
        self.sock.close()

    def until(self, end: bytes) -> bytes:
        """Everything up to and with `end`."""
        while end not in self._held:
            part = self.sock.recv(65536)
            assert part, f"the connection ended before {end!r}: {self._held!r}"
            self._held += part
        found, _, self._held = self._held.partition(end)
        return found + end

    def exactly(self, count: int) -> bytes:
        """So many bytes."""
        while len(self._held) < count:
            part = self.sock.recv(65536)
            assert part, f"the connection ended after {len(self._held)} of {count} bytes"
            self._held += part
        found, self._held = self._held[:count], self._held[count:]
        return found

    def rest(self) -> bytes:
        """Everything to the end of the connection."""
        parts = [self._held]
        self._held = b""
        with contextlib.suppress(ConnectionResetError):
            while part := self.sock.recv(65536):
                parts.append(part)
        return b"".join(parts)

    def answer(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of the next answer."""
        lines = self.until(b"\r\n\r\n").decode().split("\r\n")
        status = int(lines[0].split()[1])
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
        if head or status in (204, 304):
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            return status, headers, self._chunks()
        if "content-length" not in headers:
            return status, headers, self.rest()
        return status, headers, self.exactly(int(headers["content-length"]))

    def rest_of_chunks(self) -> bytes:
        """The body of a chunked answer whose head has been read."""
        return self._chunks()

    def _chunks(self) -> bytes:
        body = bytearray()
        while size := int(self.until(b"\r\n"), 16):
            body += self.exactly(size)
            assert self.exactly(2) == b"\r\n"
        assert self.exactly(2) == b"\r\n"
        return bytes(body)


class Rig:
    """The server, what its handlers saw, and clients for it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.seen: list[Any] = []
        self.taken: list[Taken] = []
        self.started = threading.Event()
        self.ended = threading.Event()
        self.released = threading.Event()
        self.sent = 0  # bytes that /flood gave away
        self._clients: list[Client] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.free_port = int(probe.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.server = self.run(self._made())
        self.run(self.server.listen_unix(self.path, group="nobody-of-this-name"))

    async def _made(self) -> Server:
        return Server(Router(self._routes()), name="Test/1")

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Something on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    def connect(self) -> Client:
        """A new connection."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(self.path)
        client = Client(sock)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """The end of all."""
        for client in self._clients:
            client.close()
        for taken in self.taken:
            taken.sock.close()
        self.released.set()
        self.run(self.server.close())
        self.run(self._settled())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _settled(self) -> None:
        mine = asyncio.current_task()
        for task in asyncio.all_tasks():
            if task is not mine:
                task.cancel()
        await asyncio.sleep(0)
        await self._loop.shutdown_asyncgens()

    # --- handlers ---

    def _routes(self) -> list[Route]:
        return [
            Route("GET", "/hello", self._hello),
            Route("POST", "/hello", self._hello),
            Route("GET", "/items/{name}/json", self._item),
            Route("POST", "/echo", self._echo),
            Route("POST", "/json", self._json),
            Route("POST", "/ignore", self._ignore),
            Route("GET", "/error/{kind}", self._error),
            Route("GET", "/stream", self._stream),
            Route("POST", "/stream", self._stream),
            Route("GET", "/broken", self._broken),
            Route("GET", "/flood", self._flood),
            Route("GET", "/endless", self._endless),
            Route("GET", "/endless-careful", self._endless, uninterrupted=True),
            Route("GET", "/slow", self._slow),
            Route("POST", "/slow", self._slow),
            Route("GET", "/careful", self._careful, uninterrupted=True),
            Route("POST", "/take", self._take),
            Route("GET", "/take", self._take),
            Route("POST", "/take-late", self._take_late),
            Route("POST", "/take-fail", self._take_fail),
        ]

    async def _hello(self, request: Request) -> Response:
        self.seen.append(request.path)
        return Response(200, b"hello\n", (("Content-Type", "text/plain"),))

    async def _item(self, request: Request) -> Response:
        return json_response({"name": request.params["name"], "version": list(request.version)})

    async def _echo(self, request: Request) -> Response:
        return Response(200, await request.read())

    async def _json(self, request: Request) -> Response:
        return json_response(await request.json(limit=64))

    async def _ignore(self, request: Request) -> Response:
        return Response(200, b"did not look\n")

    async def _error(self, request: Request) -> Response:
        raise {
            "missing": NotFound("No such thing: x"), "taken": Conflict("in use"), "same": NotModified("as it was"),
            "system": OSError(2, "No such file or directory", "/gone"), "bug": ZeroDivisionError("oops"),
        }[request.params["kind"]]  # fmt: skip

    async def _stream(self, request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for part in (b"one\n", b"", b"two\n"):
                yield part
                await asyncio.sleep(0)

        return Response(200, parts())

    async def _broken(self, request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"one\n"
            raise Conflict("half-way")

        return Response(200, parts())

    async def _flood(self, request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            try:
                for _ in range(1024):
                    self.sent += 65536
                    yield b"x" * 65536
            finally:
                self.ended.set()

        return Response(200, parts())

    async def _endless(self, request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            try:
                yield b"first\n"
                await asyncio.Event().wait()
            finally:
                self.ended.set()

        return Response(200, parts())

    async def _slow(self, request: Request) -> Response:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        raise AssertionError

    async def _careful(self, request: Request) -> Response:
        self.started.set()
        await asyncio.to_thread(self.released.wait, SECONDS)
        self.seen.append(("lost", request.connection.lost.is_set()))
        self.ended.set()
        return Response(200, b"done\n")

    async def _take(self, request: Request) -> Taken:
        await request.read()
        taken = request.connection.take()
        self.taken.append(taken)
        self.started.set()
        return taken

    async def _take_late(self, request: Request) -> Taken:
        self.started.set()
        await asyncio.to_thread(self.released.wait, SECONDS)
        return await self._take(request)

    async def _take_fail(self, request: Request) -> Taken:
        taken = request.connection.take()
        taken.sock.close()
        raise Conflict("after the hand-over")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A server on a socket of its own."""
    made = Rig(tmp_path / "s.sock")
    yield made
    made.close()


@pytest.fixture
def client(rig: Rig) -> Client:
    """A connection to it."""
    return rig.connect()
