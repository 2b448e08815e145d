"""Answers in chunks: the client's pace, failures that can be seen, and clients that go away."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import Any

import pytest

GET = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def test_chunks_then_the_next_request(client: Any) -> None:
    client.send(get("/stream") + GET)
    status, headers, body = client.answer()
    assert (status, headers["transfer-encoding"], body) == (200, "chunked", b"one\ntwo\n")
    assert client.answer()[2] == b"hello\n"


def test_each_part_is_sent_at_once(client: Any) -> None:
    client.send(get("/endless"))
    assert client.until(b"first\n\r\n").endswith(b"6\r\nfirst\n\r\n")


def test_a_failure_half_way_has_no_last_chunk(client: Any) -> None:
    client.send(get("/broken"))
    found = client.rest()
    assert found.endswith(b"4\r\none\n\r\n")
    assert b"0\r\n\r\n" not in found


def test_a_slow_client_holds_the_stream_back(rig: Any, client: Any) -> None:
    client.send(get("/flood"))
    client.until(b"\r\n\r\n")
    last = -1
    while rig.sent != last:  # until it stands still
        last = rig.sent
        time.sleep(0.05)
    assert last < 8 << 20
    client.sock.settimeout(10)
    assert len(client.rest_of_chunks()) == 64 << 20


def test_many_pipelined_answers_nobody_reads_are_held_back(rig: Any, client: Any) -> None:
    client.sock.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        for _ in range(1000):
            client.send(GET * 1000)
    assert len(rig.seen) < 20_000


def test_a_client_that_goes_ends_its_stream(rig: Any, client: Any) -> None:
    client.send(get("/endless"))
    client.until(b"first\n")
    client.close()
    assert rig.ended.wait(5)


def test_a_client_that_goes_ends_its_stream_of_an_uninterrupted_route(rig: Any, client: Any) -> None:
    client.send(get("/endless-careful"))
    client.until(b"first\n")
    client.close()
    assert rig.ended.wait(5)


def test_a_client_that_does_not_read_and_goes(rig: Any, client: Any) -> None:
    client.send(get("/flood"))
    client.until(b"\r\n\r\n")
    client.close()
    assert rig.ended.wait(5)


def test_a_client_that_sent_more_and_goes_ends_its_stream(rig: Any, client: Any) -> None:
    client.send(get("/endless"))
    client.until(b"first\n")
    client.send(GET)
    time.sleep(0.05)
    client.close()
    assert rig.ended.wait(5)


@pytest.mark.parametrize("path", ["/slow"])
def test_a_client_that_goes_cancels_its_handler(rig: Any, client: Any, path: str) -> None:
    client.send(get(path))
    assert rig.started.wait(5)
    client.close()
    assert rig.ended.wait(5)


def test_a_client_that_pipelined_and_goes_cancels_its_handler(rig: Any, client: Any) -> None:
    client.send(get("/slow") + GET)
    assert rig.started.wait(5)
    client.close()
    assert rig.ended.wait(5)


def test_a_client_that_goes_with_its_body_unread_cancels_the_handler(rig: Any, client: Any) -> None:
    client.send(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 99_000)
    assert rig.started.wait(5)
    client.close()
    assert rig.ended.wait(5)


def test_a_handler_that_is_not_to_be_interrupted_goes_on_and_knows(rig: Any, client: Any) -> None:
    client.send(get("/careful"))
    assert rig.started.wait(5)
    client.close()
    other = rig.connect()
    other.send(GET)
    assert other.answer()[0] == 200
    time.sleep(0.1)
    assert not rig.ended.is_set()
    rig.released.set()
    assert rig.ended.wait(5)
    assert ("lost", True) in rig.seen


def test_half_closed_still_gets_its_answer(client: Any) -> None:
    client.send(GET)
    client.half_close()
    assert client.answer()[0] == 200
    assert client.rest() == b""


def test_half_closed_ends_an_endless_stream_after_a_moment(rig: Any, client: Any) -> None:
    client.send(get("/endless"))
    client.half_close()
    assert b"first" in client.rest()
    assert rig.ended.wait(5)


def test_half_closed_cancels_a_slow_handler_after_a_moment(rig: Any, client: Any) -> None:
    client.send(get("/slow"))
    client.half_close()
    assert rig.ended.wait(5)


def test_a_reset_cancels_too(rig: Any) -> None:
    rig.run(rig.server.listen_tcp("127.0.0.1", rig.free_port))
    sock = socket.create_connection(("127.0.0.1", rig.free_port), 5)
    sock.sendall(get("/slow"))
    assert rig.started.wait(5)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    assert rig.ended.wait(5)


def test_over_tcp_too(rig: Any) -> None:
    rig.run(rig.server.listen_tcp("127.0.0.1", rig.free_port))
    sock = socket.create_connection(("127.0.0.1", rig.free_port), 5)
    sock.sendall(GET)
    assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    sock.sendall(get("/slow"))
    assert rig.started.wait(5)
    sock.close()
    assert rig.ended.wait(5)
