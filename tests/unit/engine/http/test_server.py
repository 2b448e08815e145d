"""Listening: who may, what stands in the way, and an end that lets answers finish."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hakobune.engine.http.router import Router
from hakobune.engine.http.server import Server
from hakobune.errors import FailedPrecondition

GET = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"


def test_the_socket_is_for_its_owner_and_group(rig: Any) -> None:
    assert stat.S_IMODE(os.stat(rig.path).st_mode) == 0o660


def test_a_second_server_is_refused(rig: Any) -> None:
    with pytest.raises(FailedPrecondition, match="another daemon"):
        rig.run(rig.server.listen_unix(rig.path))


def test_a_socket_of_a_dead_server_is_replaced(rig: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "old.sock")
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(path)
    rig.run(rig.server.listen_unix(path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(GET)
        assert client.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_file_that_is_no_socket_stays(rig: Any, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(FailedPrecondition, match="not a socket"):
        rig.run(rig.server.listen_unix(str(path)))
    assert path.read_text() == "data"


def test_a_path_that_is_too_long_is_told(rig: Any, tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="too long"):
        rig.run(rig.server.listen_unix(str(tmp_path / ("x" * 120))))


def test_a_directory_is_made(rig: Any, tmp_path: Path) -> None:
    rig.run(rig.server.listen_unix(str(tmp_path / "a" / "b" / "s.sock")))
    assert (tmp_path / "a" / "b" / "s.sock").exists()
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) & 0o500 == 0o500


def test_a_port_in_use_is_told(rig: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(FailedPrecondition, match="in use"):
            rig.run(rig.server.listen_tcp("127.0.0.1", other.getsockname()[1]))


def test_the_end_closes_idle_connections_and_removes_the_socket(rig: Any, client: Any) -> None:
    client.send(GET)
    client.answer()
    rig.run(rig.server.close())
    assert client.rest() == b""
    assert not os.path.exists(rig.path)


def test_the_end_lets_an_answer_finish(rig: Any, client: Any) -> None:
    client.send(b"GET /careful HTTP/1.1\r\nHost: x\r\n\r\n")
    assert rig.started.wait(5)
    threading.Timer(0.2, rig.released.set).start()
    rig.run(rig.server.close())
    status, headers, body = client.answer()
    assert (status, headers["connection"], body) == (200, "close", b"done\n")


def test_the_end_does_not_wait_for_an_endless_stream(rig: Any, client: Any) -> None:
    client.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
    client.until(b"first\n")
    began = time.monotonic()
    rig.run(rig.server.close())
    assert time.monotonic() - began < 5
    assert rig.ended.wait(5)


def test_many_at_once(rig: Any) -> None:
    clients = [rig.connect() for _ in range(200)]
    for one in clients:
        one.send(GET)
    assert [one.answer()[0] for one in clients] == [200] * 200


@pytest.mark.parametrize("turns", range(8))
def test_a_client_that_comes_at_the_end_is_sent_away(tmp_path: Path, turns: int) -> None:
    """Whatever asyncio has done with its connection when the server ends."""
    troubles: list[Any] = []

    async def story(client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: troubles.append(context))
        server = Server(Router([]), name="Test/1")
        await server.listen_unix(str(tmp_path / "s"))
        client.connect(str(tmp_path / "s"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(server.close(), 1)
        client.setblocking(False)
        try:
            assert await asyncio.wait_for(loop.sock_recv(client, 100), 1) == b""
        except ConnectionResetError:
            pass

    with socket.socket(socket.AF_UNIX) as client:
        asyncio.run(story(client))
    assert not troubles
