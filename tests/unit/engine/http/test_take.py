"""A connection that leaves HTTP: every byte after the request goes with it, read already or not."""

from __future__ import annotations

import socket
import time
from typing import Any

TAKE = b"POST /take HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"


def everything(rig: Any, count: int) -> bytes:
    """`count` bytes as the taker of the first connection sees them."""
    assert rig.started.wait(5)
    taken = rig.taken[0]
    taken.sock.settimeout(5)
    found: bytes = taken.early
    while len(found) < count:
        part = taken.sock.recv(65536)
        assert part
        found += part
    return found


def test_bytes_that_came_with_the_request(rig: Any, client: Any) -> None:
    client.send(TAKE + b"early bytes")
    assert everything(rig, 11) == b"early bytes"


def test_early_bytes_that_look_like_a_request(rig: Any, client: Any) -> None:
    client.send(TAKE + TAKE)
    assert everything(rig, len(TAKE)) == TAKE
    assert len(rig.taken) == 1


def test_a_get_without_a_length(rig: Any, client: Any) -> None:
    client.send(b"GET /take HTTP/1.1\r\nHost: x\r\n\r\nearly")
    assert everything(rig, 5) == b"early"


def test_after_a_chunked_body(rig: Any, client: Any) -> None:
    client.send(
        b"POST /take HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nearly"
    )
    assert everything(rig, 5) == b"early"


def test_after_a_body_that_came_in_pieces(rig: Any, client: Any) -> None:
    client.send(b"POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
    time.sleep(0.05)
    client.send(b"{ }\nlate")
    assert everything(rig, 4) == b"late"


def test_late_bytes_stay_in_the_kernel(rig: Any, client: Any) -> None:
    client.send(TAKE.replace(b"/take", b"/take-late"))
    assert rig.started.wait(5)
    rig.started.clear()
    client.send(b"late" * 1000)
    time.sleep(0.05)
    rig.released.set()
    assert everything(rig, 4000) == b"late" * 1000


def test_both_ways_and_half_closed(rig: Any, client: Any) -> None:
    client.send(TAKE + b"in")
    client.half_close()
    assert everything(rig, 2) == b"in"
    taken = rig.taken[0]
    assert taken.sock.recv(10) == b""
    taken.sock.sendall(b"HTTP/1.1 101 UPGRADED\r\n\r\nout")
    taken.sock.shutdown(socket.SHUT_WR)
    assert client.rest() == b"HTTP/1.1 101 UPGRADED\r\n\r\nout"


def test_half_closed_before_the_hand_over(rig: Any, client: Any) -> None:
    client.send(TAKE.replace(b"/take", b"/take-late") + b"all")
    client.half_close()
    assert rig.started.wait(5)
    rig.started.clear()
    time.sleep(0.05)
    rig.released.set()
    assert everything(rig, 3) == b"all"
    rig.taken[0].sock.sendall(b"answer")
    rig.taken[0].sock.close()
    assert client.rest() == b"answer"


def test_the_socket_does_not_block_and_is_the_takers_own(rig: Any, client: Any) -> None:
    client.send(TAKE)
    everything(rig, 0)
    rig.run(rig.server.close())
    taken = rig.taken[0]
    taken.sock.sendall(b"still here")
    assert client.exactly(10) == b"still here"


def test_after_other_requests_on_the_same_connection(rig: Any, client: Any) -> None:
    client.send(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n" + TAKE + b"early")
    assert client.answer()[0] == 200
    assert everything(rig, 5) == b"early"


def test_a_client_that_goes_while_its_handler_waits(rig: Any, client: Any) -> None:
    client.send(TAKE.replace(b"/take", b"/take-late"))
    assert rig.started.wait(5)
    client.close()
    time.sleep(0.1)
    rig.released.set()
    time.sleep(0.1)
    assert not rig.taken


def test_an_incomplete_body_cannot_be_left_behind(client: Any) -> None:
    client.send(b"POST /take-fail HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
    assert client.answer()[0] == 400


def test_a_failure_after_the_hand_over_says_nothing_over_http(client: Any) -> None:
    client.send(TAKE.replace(b"/take", b"/take-fail"))
    assert client.rest() == b""
