"""Requests off a real socket: kept alive, pipelined, chunked, continued, cut short, malformed."""

from __future__ import annotations

import json
from typing import Any

import pytest

GET = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"


def test_an_answer_has_the_common_headers(client: Any) -> None:
    client.send(GET)
    status, headers, body = client.answer()
    assert (status, body) == (200, b"hello\n")
    assert headers["api-version"] == "1.51"
    assert headers["ostype"] == "linux"
    assert headers["docker-experimental"] == "false"
    assert headers["server"] == "Test/1"


def test_a_connection_is_kept(client: Any) -> None:
    for _ in range(5):
        client.send(GET)
        assert client.answer()[0] == 200


def test_pipelined_requests_are_answered_in_order(client: Any) -> None:
    names = [f"n{index}" for index in range(20)]
    client.send(b"".join(f"GET /items/{name}/json HTTP/1.1\r\nHost: x\r\n\r\n".encode() for name in names))
    assert [json.loads(client.answer()[2])["name"] for _ in names] == names


def test_pipelined_with_bodies(client: Any) -> None:
    client.send(
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfirst" + GET
        + b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + GET
    )  # fmt: skip
    assert [client.answer()[2] for _ in range(4)] == [b"first", b"hello\n", b"abc", b"hello\n"]


def test_pipelined_then_half_closed_are_all_answered(client: Any) -> None:
    client.send(GET * 3)
    client.half_close()
    assert [client.answer()[0] for _ in range(3)] == [200, 200, 200]
    assert client.rest() == b""


def test_a_pipelined_request_that_is_cut_short_is_400(client: Any) -> None:
    client.send(GET + b"GET /hel")
    client.half_close()
    assert client.answer()[0] == 200
    assert client.answer()[0] == 400
    assert client.rest() == b""


def test_dribbled_byte_by_byte(client: Any) -> None:
    for byte in b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":
        client.send(bytes([byte]))
    assert client.answer()[2] == b"abc"


def test_a_large_body(client: Any) -> None:
    content = bytes(range(256)) * 8000
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
    assert client.answer()[2] == content


def test_a_chunked_body(client: Any) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for part in (b"5\r\nhello\r\n", b"1;x=y\r\n \r\n", b"5\r\nworld\r\n", b"0\r\n\r\n"):
        client.send(part)
    assert client.answer()[2] == b"hello world"
    client.send(GET)
    assert client.answer()[0] == 200


def test_continue_is_said_only_when_the_body_is_wanted(client: Any) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"abc")
    assert client.answer()[2] == b"abc"
    client.send(GET)
    assert client.answer()[0] == 200


def test_no_continue_for_a_body_nobody_wants(client: Any) -> None:
    client.send(b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    status, headers, _ = client.answer()
    assert (status, headers.get("connection")) == (200, "close")
    assert client.rest() == b""


def test_an_ignored_body_that_came_whole_does_no_harm(client: Any) -> None:
    client.send(b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + GET)
    assert [client.answer()[0], client.answer()[0]] == [200, 200]


def test_an_ignored_body_that_is_not_there_ends_the_connection(client: Any) -> None:
    client.send(b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 300\r\n\r\nGET /hello")
    status, headers, _ = client.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert client.rest() == b""


def test_the_answer_reaches_a_client_that_is_still_sending(client: Any) -> None:
    client.send(b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n")
    client.send(b"x" * 600_000)
    assert client.answer()[0] == 200


def test_streaming_with_an_unread_body_is_no_next_request(client: Any) -> None:
    client.send(b"POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\nGET /hello HTTP/1.1\r\n")
    status, headers, body = client.answer()
    assert (status, body, headers.get("connection")) == (200, b"one\ntwo\n", "close")
    assert client.rest() == b""


def test_head_has_the_length_and_no_body(client: Any) -> None:
    client.send(b"HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
    status, headers, _ = client.answer(head=True)
    assert (status, headers["content-length"]) == (200, "6")
    assert client.answer()[2] == b"hello\n"


def test_head_of_a_stream_does_not_run_it(client: Any) -> None:
    client.send(b"HEAD /endless HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
    assert client.answer(head=True)[0] == 200
    assert client.answer()[2] == b"hello\n"


def test_head_of_an_error(client: Any) -> None:
    client.send(b"HEAD /error/missing HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
    assert client.answer(head=True)[0] == 404
    assert client.answer()[0] == 200


@pytest.mark.parametrize(
    "text",
    [
        b"GET /hello",
        b"GET /hello HTTP/1.1\r\nHost: x\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    ],
)
def test_cut_short_is_400(client: Any, text: bytes) -> None:
    client.send(text)
    client.half_close()
    status, headers, body = client.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert json.loads(body)["message"]
    assert client.rest() == b""


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense\r\n\r\n",
        b"GET /hello HTTP/1.1\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_malformed_is_refused_and_ended(client: Any, text: bytes) -> None:
    client.send(text)
    status, headers, body = client.answer()
    assert status in (400, 501)
    assert headers["connection"] == "close"
    assert json.loads(body)["message"]
    assert client.rest() == b""


def test_an_endless_header_is_400(client: Any) -> None:
    client.send(b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Long: ")
    client.send(b"a" * 100_000)
    assert client.answer()[0] == 400
    assert client.rest() == b""


def test_a_whole_header_of_absurd_length_is_400(client: Any) -> None:
    client.send(b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 150_000 + b"\r\n\r\n")
    assert client.answer()[0] == 400
    assert client.rest() == b""


def test_an_absurd_header_behind_another_request_is_400(client: Any) -> None:
    client.send(GET + b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 150_000)
    assert client.answer()[0] == 200
    assert client.answer()[0] == 400


def test_connection_close_is_kept(client: Any) -> None:
    client.send(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    _, headers, _ = client.answer()
    assert headers["connection"] == "close"
    assert client.rest() == b""


def test_connection_close_of_a_stream_is_told(client: Any) -> None:
    client.send(b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: Close, te\r\n\r\n")
    _, headers, body = client.answer()
    assert (headers["connection"], body) == ("close", b"one\ntwo\n")
    assert client.rest() == b""


def test_http_1_0_gets_no_chunks(client: Any) -> None:
    client.send(b"GET /stream HTTP/1.0\r\n\r\n")
    _, headers, body = client.answer()
    assert "transfer-encoding" not in headers
    assert body == b"one\ntwo\n"


@pytest.mark.parametrize(
    ("path", "status"),
    [("missing", 404), ("taken", 409), ("same", 304), ("system", 500), ("bug", 500)],
)
def test_errors_have_a_status_and_a_message(client: Any, path: str, status: int) -> None:
    client.send(f"GET /error/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + GET)
    found, _, body = client.answer()
    assert found == status
    assert status == 304 or json.loads(body)["message"]
    assert client.answer()[0] == 200


def test_unknown_paths_and_versions(client: Any) -> None:
    for target, status in (
        ("/nothing", 404), ("/v1.41/hello", 200), ("/v1.99/hello", 400), ("/v1.2/hello", 400),
        ("/v1.41/items/a%2Fb%20c/json", 200), ("/hello?x=%FF", 200), ("/%FF", 404), ("http://docker/hello", 200),
    ):  # fmt: skip
        client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.answer()[0] == status, target


def test_json_is_checked(client: Any) -> None:
    def post(content: bytes) -> tuple[int, dict[str, str], bytes]:
        client.send(b"POST /json HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        found: tuple[int, dict[str, str], bytes] = client.answer()
        return found

    assert post(b'{"a": 1}')[2] == b'{"a":1}\n'
    assert post(b"")[2] == b"null\n"
    assert post(b"{")[0] == 400
    assert post(b"[" * 64)[0] == 400
    assert post(b'"\xff"')[0] == 400


def test_too_much_json_is_400(client: Any) -> None:
    client.send(b"POST /json HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + b"1" * 100)
    assert client.answer()[0] == 400
