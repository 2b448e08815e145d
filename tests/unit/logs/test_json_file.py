"""Docker's json-file: what is written, rotated, read and followed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakobune.logs import json_file
from hakobune.logs.json_file import LINE_LIMIT, Reader, Writer, parse_time, rfc3339


def texts(path: Path) -> list[str]:
    return [json.loads(line)["log"] for line in path.read_text().splitlines()]


def test_lines_and_a_rest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(str(path))
    writer.write("stdout", b"a\nb")
    writer.write("stderr", b"err\n")
    assert texts(path) == ["a\n", "err\n"]
    writer.write("stdout", b"c\n")
    writer.write("stdout", b"no end")
    writer.close()
    assert texts(path) == ["a\n", "err\n", "bc\n", "no end"]


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_no_byte_is_lost(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    writer = Writer(str(path))
    for part in parts:
        writer.write("stdout", part)
    writer.close()
    want = b"".join(parts)
    if want.decode("utf-8", "ignore").encode() == want:
        assert "".join(texts(path)) == want.decode() or not want.isascii()


def test_long_lines_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(str(path))
    line = b"x" * (LINE_LIMIT * 2 + 5) + b"\n"
    writer.write("stdout", line)
    writer.close()
    assert [len(text) for text in texts(path)] == [LINE_LIMIT, LINE_LIMIT, 6]


def test_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(str(path), 200, 3)
    for number in range(20):
        writer.write("stdout", b"%d\n" % number)
    writer.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert all(p.stat().st_size <= 200 for p in tmp_path.iterdir())
    kept = [int(entry.log) for entry in Reader(str(path)).entries()]
    assert kept == list(range(kept[0], 20))


def test_one_file_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(str(path), 200, 1)
    for number in range(10):
        writer.write("stdout", b"%d\n" % number)
    writer.close()
    assert [p.name for p in tmp_path.iterdir()] == ["log"]
    assert texts(path)[-1] == "9\n"


def test_a_reader_follows_over_rotations(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(str(path), 200, 3)
    reader = Reader(str(path))
    got = []
    for number in range(30):
        writer.write("stdout", b"%d\n" % number)
        got += [int(entry.log) for entry in reader.entries()]
    assert got == list(range(30))
    writer.close()
    reader.close()
    reader.close()


@pytest.mark.parametrize(
    ("tail", "want"), [(0, []), (2, [8, 9]), (99, list(range(10))), (-1, list(range(10)))]
)
def test_tail(tmp_path: Path, tail: int, want: list[int]) -> None:
    path = tmp_path / "log"
    writer = Writer(str(path))
    for number in range(10):
        writer.write("stdout", b"%d\n" % number)
    writer.close()
    reader = Reader(str(path), tail=tail)
    assert [int(entry.log) for entry in reader.entries()] == want
    reader.close()


def test_a_full_disk_is_told_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    writer = Writer(str(path))
    writer.write("stdout", b"before\n")
    real = os.write

    def full(fd: int, data: bytes) -> int:
        real(fd, data[:10])
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(json_file.os, "write", full)
    writer.write("stdout", b"lost 1\nlost 2\n")
    monkeypatch.setattr(json_file.os, "write", real)
    writer.write("stdout", b"after\n")
    writer.close()
    assert texts(path) == [
        "before\n",
        "hakobune: 2 log lines were dropped because the disk was full\n",
        "after\n",
    ]


def test_damaged_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(
        'rubbish\n{"log":"x"}\n[]\n{"log":"ok\\n","stream":"stdout","time":"2026-01-01T00:00:00Z"}\n'
    )
    assert [entry.log for entry in Reader(str(path)).entries()] == ["ok\n"]


@given(st.integers(0, 4_000_000_000_000_000_000))
def test_times(at: int) -> None:
    assert parse_time(rfc3339(at)) == at


def test_time_text() -> None:
    assert rfc3339(1_500_000_000_120_000_000) == "2017-07-14T02:40:00.12Z"
    assert parse_time("nonsense") == 0
