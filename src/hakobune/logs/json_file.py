"""Docker's json-file format: one JSON object a line, {"log", "stream", "time"}; rotation by size.

Invariant: the file holds whole lines only. When the disk takes no more, the rest is dropped and
counted, and the count is written as a line of its own once there is room again. Readers follow the
inode, so a rotation loses nothing. Imports: os, time, _json, json.
"""

from __future__ import annotations

import json
import os
import time
from _json import encode_basestring
from collections.abc import Iterator
from typing import Any

from hakobune.record import dataclass

LINE_LIMIT = 16 * 1024  # as Docker: longer lines are kept as several entries without newline
_SECOND = 1_000_000_000


def rfc3339(nanoseconds: int) -> str:
    """UTC with nanoseconds, trailing zeros cut, as Go writes it."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return f"{stamp}{fraction}Z"


def parse_time(text: str) -> int:
    """Nanoseconds since the epoch of an entry's time; 0 when it is not one."""
    try:
        whole, _, fraction = text.rstrip("Z").partition(".")
        seconds = _days(int(whole[:4]), int(whole[5:7]), int(whole[8:10])) * 86400
        seconds += int(whole[11:13]) * 3600 + int(whole[14:16]) * 60 + int(whole[17:19])
        return seconds * _SECOND + int(fraction.ljust(9, "0")[:9] or 0)
    except ValueError:
        return 0


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 of a Gregorian date."""
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


class Writer:
    """Owns the log file of one container. `max_size` in bytes, 0 for no limit; `max_file` counts the current one."""

    def __init__(self, path: str, max_size: int = 0, max_file: int = 1) -> None:
        self._path = path
        self._max_size = max_size
        self._max_file = max(1, max_file)
        self._rest: dict[str, bytes] = {"stdout": b"", "stderr": b""}
        self._dropped = 0
        self._open()

    def pack(self) -> tuple[int, dict[str, object]]:
        """(its descriptor, its state as JSON can hold it), for another process."""
        rest = {stream: data.decode("latin-1") for stream, data in self._rest.items()}
        return self._fd, {"path": self._path, "max_size": self._max_size, "max_file": self._max_file,
                          "rest": rest, "dropped": self._dropped}  # fmt: skip

    @classmethod
    def unpack(cls, fd: int, packed: dict[str, Any]) -> Writer:
        """Go on with the open file `fd`."""
        self = cls.__new__(cls)
        self._fd, self._path, self._size = fd, packed["path"], os.fstat(fd).st_size
        self._max_size, self._max_file = packed["max_size"], packed["max_file"]
        self._rest = {stream: data.encode("latin-1") for stream, data in packed["rest"].items()}
        self._dropped = packed["dropped"]
        return self

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o640)
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: str, data: bytes) -> None:
        """Keep output of `stream` ("stdout" or "stderr"); an unfinished line waits for its end."""
        lines = (self._rest[stream] + data).split(b"\n")
        rest = lines.pop()
        tail = f',"stream":"{stream}","time":"{rfc3339(time.time_ns())}"}}\n'
        out = [self._entry(line + b"\n", tail) for line in lines]
        while len(rest) >= LINE_LIMIT:
            out.append(self._entry(rest[:LINE_LIMIT], tail))
            rest = rest[LINE_LIMIT:]
        self._rest[stream] = rest
        if out:
            self._append("".join(out).encode())

    @staticmethod
    def _entry(line: bytes, tail: str) -> str:
        if len(line) <= LINE_LIMIT:
            return '{"log":' + encode_basestring(line.decode("utf-8", "replace")) + tail
        pieces = (line[at : at + LINE_LIMIT] for at in range(0, len(line), LINE_LIMIT))
        return "".join('{"log":' + encode_basestring(p.decode("utf-8", "replace")) + tail for p in pieces)

    def _append(self, data: bytes) -> None:
        if self._max_size and self._size and self._size + len(data) > self._max_size:
            self._rotate()
        if self._dropped:
            data = self._lament() + data
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            # No half line stays: the next reader, and the next write, start at a line.
            self._dropped += data.count(b"\n")
            os.ftruncate(self._fd, self._size)
            return
        self._dropped = 0
        self._size += len(data)

    def _lament(self) -> bytes:
        text = f"hakobune: {self._dropped} log lines were dropped because the disk was full\n"
        stamp = rfc3339(time.time_ns())
        return f'{{"log":{encode_basestring(text)},"stream":"stderr","time":"{stamp}"}}\n'.encode()

    def _rotate(self) -> None:
        """log -> log.1 -> log.2 …; with one file the log starts anew."""
        try:
            if self._max_file == 1:
                os.ftruncate(self._fd, 0)
                self._size = 0
                return
            for number in range(self._max_file - 1, 0, -1):
                older = f"{self._path}.{number}"
                newer = f"{self._path}.{number - 1}" if number > 1 else self._path
                if os.path.lexists(newer):
                    os.rename(newer, older)
            os.close(self._fd)
            self._open()
        except OSError:
            return  # a log that cannot be rotated grows: losing it would be worse

    def close(self) -> None:
        """Write unfinished lines and close. Not to be used afterwards."""
        for stream, rest in self._rest.items():
            if rest:
                stamp = rfc3339(time.time_ns())
                self._append(self._entry(rest, f',"stream":"{stream}","time":"{stamp}"}}\n').encode())
        os.close(self._fd)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line, or piece of a long line: `at` in nanoseconds since the epoch."""

    log: str
    stream: str
    at: int
    time: str


def parse_entry(line: bytes) -> Entry | None:
    """None for a line that is not an entry (a file damaged by other hands)."""
    try:
        raw = json.loads(line)
        stamp = str(raw["time"])
        return Entry(str(raw["log"]), str(raw["stream"]), parse_time(stamp), stamp)
    except (ValueError, KeyError, TypeError):
        return None


def files(path: str) -> list[str]:
    """The log's files, oldest first."""
    older = []
    number = 1
    while os.path.exists(f"{path}.{number}"):
        older.append(f"{path}.{number}")
        number += 1
    return [*reversed(older), path]


class Reader:
    """Reads entries in order and goes on over rotations; keeps one file open."""

    def __init__(self, path: str, *, tail: int = -1) -> None:
        """`tail`: start with the last so many entries, -1 for all. A missing log is an empty one."""
        self._path = path
        self._pending = files(path)
        self._file = -1
        self._rest = b""
        if tail >= 0:
            self._skip_to_tail(tail)

    def _skip_to_tail(self, tail: int) -> None:
        counts = [_count_lines(name) for name in self._pending]
        skip = max(0, sum(counts) - tail)
        while self._pending and skip >= counts[0] and len(self._pending) > 1:
            skip -= counts.pop(0)
            self._pending.pop(0)
        for _ in range(skip):
            if self._line() is None:
                return

    def _line(self) -> bytes | None:
        """The next whole line, None when there is none now."""
        while True:
            end = self._rest.find(b"\n")
            if end >= 0:
                line, self._rest = self._rest[:end], self._rest[end + 1 :]
                return line
            if not self._more():
                return None

    def _more(self) -> bool:
        if self._file < 0 and not self._next_file():
            return False
        data = os.read(self._file, 1 << 16)
        if data:
            self._rest += data
            return True
        return self._moved_on()

    def _next_file(self) -> bool:
        while self._pending:
            try:
                self._file = os.open(self._pending.pop(0), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            return True
        return False

    def _moved_on(self) -> bool:
        """At the end of our file: go to the next, or to the one that has taken its name."""
        if not self._pending:
            try:
                current = os.stat(self._path)
            except FileNotFoundError:
                return False
            ours = os.fstat(self._file)
            if (current.st_ino, current.st_dev) == (ours.st_ino, ours.st_dev):
                if os.lseek(self._file, 0, os.SEEK_CUR) > current.st_size:
                    os.lseek(self._file, 0, os.SEEK_SET)  # it was cut by a rotation within one file
                    return True
                return False
            self._pending = [self._path]
        os.close(self._file)
        self._file = -1
        return self._next_file()

    def entries(self) -> Iterator[Entry]:
        """All entries up to the present end; call again for those that came since."""
        while (line := self._line()) is not None:
            entry = parse_entry(line)
            if entry is not None:
                yield entry

    def close(self) -> None:
        """Silent when nothing is open."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _count_lines(path: str) -> int:
    count = 0
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                count += block.count(b"\n")
    except FileNotFoundError:
        return 0
    return count
