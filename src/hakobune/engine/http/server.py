"""The listening sockets of the engine, and the connections that came through them."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import socket

from hakobune.engine.http.connection import HttpConnection, common_headers
from hakobune.engine.http.router import Router
from hakobune.errors import FailedPrecondition

CLOSE_SECONDS = 2.0  # how long answers under way may take at the end


class Server:
    """Serves a router's routes on any number of addresses."""

    def __init__(self, router: Router, *, name: str) -> None:
        self._router = router
        self._common = common_headers(name)
        self._servers: list[asyncio.Server] = []
        self._connections: set[HttpConnection] = set()
        self._paths: list[str] = []
        self._empty = asyncio.Event()  # set whenever the last connection goes

    def _connection(self) -> HttpConnection:
        connection = HttpConnection(self._router, self._common, self._forget)
        self._connections.add(connection)
        return connection

    def _forget(self, connection: HttpConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def listen_unix(self, path: str, *, mode: int = 0o660, group: str = "docker") -> None:
        """Listen at a path, for root and, where it exists, `group`.

        A socket that nobody listens on is replaced; raises FailedPrecondition when somebody does.
        """
        _clear(path)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        before = os.umask(0o777 & ~mode)
        try:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            listener.bind(path)
        except OSError as err:
            raise FailedPrecondition(f"cannot listen on {path}: {err.strerror}") from err
        finally:
            os.umask(before)
        with contextlib.suppress(KeyError, PermissionError):
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_unix_server(self._connection, sock=listener, backlog=512))
        self._paths.append(path)

    async def listen_tcp(self, host: str, port: int) -> None:
        """Listen on an address without encryption. Raises FailedPrecondition."""
        loop = asyncio.get_running_loop()
        try:
            self._servers.append(await loop.create_server(self._connection, host, port, backlog=512))
        except OSError as err:
            raise FailedPrecondition(f"cannot listen on {host}:{port}: {err.strerror}") from err

    async def close(self) -> None:
        """Stop listening, let answers under way finish for a moment, close every connection."""
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
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _clear(path: str) -> None:
    """Remove a socket that a killed engine left."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        probe.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    except OSError as err:
        raise FailedPrecondition(f"cannot listen on {path}: {err.strerror}") from err
    else:
        raise FailedPrecondition(f"cannot listen on {path}: another daemon listens there")
    finally:
        probe.close()
