"""Log entries as clients want them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakobune.logs import render
from hakobune.logs.json_file import Entry, Reader, Writer
from hakobune.logs.render import View, from_query

ENTRY = Entry("hello\n", "stderr", 50, "1970-01-01T00:00:00.00000005Z")


@pytest.mark.parametrize(
    ("view", "shown"),
    [
        (View(), True),
        (View(stderr=False), False),
        (View(since=50), True),
        (View(since=51), False),
        (View(until=50), True),
        (View(until=49), False),
    ],
)
def test_what_is_shown(view: View, shown: bool) -> None:
    assert view.shows(ENTRY) is shown


def test_encodings() -> None:
    assert View().encode(ENTRY) == b"\x02\0\0\0\0\0\0\x06hello\n"
    assert View(framed=False, timestamps=True).encode(ENTRY) == b"1970-01-01T00:00:00.00000005Z hello\n"
    assert View(framed=False, prefix="a=b").encode(ENTRY) == b"a=b hello\n"


@given(st.builds(View))
def test_query_round_trip(view: View) -> None:
    assert from_query(view.query()) == view


def test_batches_are_bounded(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path / "log"))
    writer.write("stdout", b"x" * 9999 + b"\n")
    for _ in range(30):
        writer.write("stdout", b"y" * 9999 + b"\n")
    writer.close()
    pieces = list(render.batches(Reader(str(tmp_path / "log")), View(framed=False)))
    assert len(b"".join(pieces)) == 31 * 10000
    assert max(map(len, pieces)) < 80_000


@pytest.mark.parametrize("chunked", [True, False])
def test_follow_to_the_end(tmp_path: Path, chunked: bool) -> None:
    path = tmp_path / "log"
    writer = Writer(str(path))
    writer.write("stdout", b"one\n")
    writer.close()
    alive, ours = os.pipe()
    os.close(ours)  # complete already
    mine, theirs = socket.socketpair()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" if chunked else b"HEAD"
    render.follow(theirs.fileno(), head, str(path), View(framed=False).query(), alive)
    theirs.close()
    got = mine.recv(4096)
    mine.close()
    os.close(alive)
    assert got == head + (b"4\r\none\n\r\n0\r\n\r\n" if chunked else b"one\n")


def test_follow_ends_when_nobody_listens(tmp_path: Path) -> None:
    alive, ours = os.pipe()
    mine, theirs = socket.socketpair()
    mine.close()
    render.follow(theirs.fileno(), b"HEAD", str(tmp_path / "none"), View().query(), alive)
    theirs.close()
    os.close(alive)
    os.close(ours)
