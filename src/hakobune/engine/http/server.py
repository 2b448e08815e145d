"""The listening sockets of the engine, and the connections that came through them."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import socket
import stat
from collections.abc import Sequence

from hakobune.engine.http.connection import HttpConnection, common_headers
from hakobune.engine.http.hangups import Hangups
from hakobune.engine.http.router import Router
from hakobune.errors import FailedPrecondition

CLOSE_SECONDS = 2.0  # how long answers under way may take at the end


class Server:
    """Serves a router's routes on any number of addresses."""

    def __init__(self, router: Router, *, name: str) -> None:
        self._router = router
        self._common = common_headers(name)
        self._hangups = Hangups()
        self._servers: list[asyncio.Server] = []
        self._hosts: list[str] = []  # where each listens, as the settings say it
        self._connections: set[HttpConnection] = set()
        self._paths: list[str] = []
        self._closing = False
        self._empty = asyncio.Event()  # set whenever the last connection goes

    def _connection(self) -> HttpConnection:
        connection = HttpConnection(self._router, self._common, self._hangups, self._forget)
        self._connections.add(connection)
        if self._closing:  # it was accepted just before the end
            connection.drop()
        return connection

    def _forget(self, connection: HttpConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def adopt(self, host: str, listeners: Sequence[int]) -> None:
        """Go on listening on sockets of an engine before us; the descriptors stay the caller's."""
        self._hangups.start()
        loop = asyncio.get_running_loop()
        for fd in listeners:
            listener = socket.socket(fileno=os.dup(fd))
            if listener.family == socket.AF_UNIX:
                self._paths.append(listener.getsockname())
                served = await loop.create_unix_server(self._connection, sock=listener, backlog=512)
            else:
                served = await loop.create_server(self._connection, sock=listener, backlog=512)
            self._serve(host, served)

    def _serve(self, host: str, server: asyncio.Server) -> None:
        self._servers.append(server)
        self._hosts.append(host)

    def keep(self) -> dict[str, list[int]]:
        """Copies of the listening sockets by host, for an engine after us: `close` leaves their paths alone."""
        kept: dict[str, list[int]] = {}
        for host, server in zip(self._hosts, self._servers, strict=True):
            kept.setdefault(host, []).extend(os.dup(listener.fileno()) for listener in server.sockets)
        self._paths.clear()
        return kept

    async def listen_unix(self, path: str, *, mode: int = 0o660, group: str = "docker") -> None:
        """Listen at a path, for root and, where it exists, `group`.

        A socket that nobody listens on is replaced; raises FailedPrecondition when somebody does.
        """
        _clear(path)
        listener = _bound(path, mode)
        with contextlib.suppress(KeyError, PermissionError):
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
        loop = asyncio.get_running_loop()
        self._hangups.start()
        self._serve(
            f"unix://{path}", await loop.create_unix_server(self._connection, sock=listener, backlog=512)
        )
        self._paths.append(path)

    async def listen_tcp(self, host: str, port: int) -> None:
        """Listen on an address without encryption. Raises FailedPrecondition."""
        loop = asyncio.get_running_loop()
        self._hangups.start()
        try:
            self._serve(
                f"tcp://{host}:{port}", await loop.create_server(self._connection, host, port, backlog=512)
            )
        except OSError as err:
            raise FailedPrecondition(f"cannot listen on {host}:{port}: {err.strerror}") from err

    async def close(self) -> None:
        """Stop listening, let answers under way finish for a moment, close every connection."""
        self._closing = True
        self._accept_no_more()
        await asyncio.sleep(0)  # what was accepted in this turn becomes a connection: not of a closed server
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.drop()
        self._empty.clear()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), CLOSE_SECONDS)
        for connection in list(self._connections):
            connection.abort()
        self._servers.clear()
        self._hangups.close()
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _accept_no_more(self) -> None:
        loop = asyncio.get_running_loop()
        for server in self._servers:
            for listener in server.sockets:
                loop.remove_reader(listener.fileno())


def _bound(path: str, mode: int) -> socket.socket:
    """A socket at a path, nobody's but ours from its first moment. Raises FailedPrecondition."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        before = os.umask(0o777 & ~mode)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
    except OSError as err:
        listener.close()
        raise FailedPrecondition(f"cannot listen on {path}: {err.strerror or err}") from err
    return listener


def _clear(path: str) -> None:
    """Remove a socket that a killed engine left. Raises FailedPrecondition for one in use, and for other files."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FailedPrecondition(f"cannot listen on {path}: it is there and not a socket")
    except FileNotFoundError:
        return
    except OSError as err:
        raise FailedPrecondition(f"cannot listen on {path}: {err.strerror}") from err
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    except BlockingIOError as err:  # somebody listens, and is busy
        raise FailedPrecondition(f"cannot listen on {path}: another daemon listens there") from err
    except OSError as err:
        raise FailedPrecondition(f"cannot listen on {path}: {err.strerror or err}") from err
    else:
        raise FailedPrecondition(f"cannot listen on {path}: another daemon listens there")
    finally:
        probe.close()
