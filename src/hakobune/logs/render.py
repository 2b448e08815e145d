"""Log entries as a client of the Docker API wants them: filtered, stamped, framed; once or following.

Imports: os, select, urllib-free query parsing; json_file, wire.stdcopy.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hakobune.logs.json_file import Entry, Reader
from hakobune.wire import stdcopy

POLL_MILLISECONDS = 50
_BATCH = 64 * 1024


@dataclass(frozen=True, slots=True)
class View:
    """What of a log is shown, and how. Times in nanoseconds since the epoch, 0 for no bound."""

    stdout: bool = True
    stderr: bool = True
    since: int = 0
    until: int = 0
    timestamps: bool = False
    tail: int = -1
    framed: bool = True
    prefix: str = ""  # `--details`: the labels and variables that were asked for

    def shows(self, entry: Entry) -> bool:
        """Whether the entry is wanted."""
        if not (self.stdout if entry.stream == "stdout" else self.stderr):
            return False
        return entry.at >= self.since and (not self.until or entry.at <= self.until)

    def encode(self, entry: Entry) -> bytes:
        """The entry's bytes."""
        text = entry.log
        if self.prefix:
            text = f"{self.prefix} {text}"
        if self.timestamps:
            text = f"{entry.time} {text}"
        data = text.encode()
        return stdcopy.frame(entry.stream, data) if self.framed else data

    def query(self) -> str:
        """As a query string, for the side socket; `from_query` is its inverse."""
        return (
            f"stdout={self.stdout:d}&stderr={self.stderr:d}&since={self.since}&until={self.until}"
            f"&timestamps={self.timestamps:d}&tail={self.tail}&framed={self.framed:d}&prefix={self.prefix.encode().hex()}"
        )


def from_query(query: str) -> View:
    """The view that `View.query` spelled."""
    words = dict(part.split("=", 1) for part in query.split("&"))
    return View(
        stdout=words["stdout"] == "1",
        stderr=words["stderr"] == "1",
        since=int(words["since"]),
        until=int(words["until"]),
        timestamps=words["timestamps"] == "1",
        tail=int(words["tail"]),
        framed=words["framed"] == "1",
        prefix=bytes.fromhex(words["prefix"]).decode(),
    )


def batches(reader: Reader, view: View) -> Iterator[bytes]:
    """What there is now, in pieces of about 64 KiB."""
    parts: list[bytes] = []
    size = 0
    for entry in reader.entries():
        if view.shows(entry):
            parts.append(view.encode(entry))
            size += len(parts[-1])
            if size >= _BATCH:
                yield b"".join(parts)
                parts, size = [], 0
    if parts:
        yield b"".join(parts)


def follow(fd: int, head: bytes, path: str, query: str, alive: int) -> None:
    """Write the log to `fd` until the other end of the pipe `alive` closes and all is written.

    Blocking, for a worker process. Ends silently when the client goes. `head` is the HTTP response's
    head; when it announces chunks, chunks are written.
    """
    view = from_query(query)
    reader = Reader(path, tail=view.tail)
    chunked = b"chunked" in head.lower()

    def send(data: bytes) -> None:
        _write_all(fd, b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)

    try:
        _write_all(fd, head)
        _pump(reader, view, send, fd, alive)
        if chunked:
            _write_all(fd, b"0\r\n\r\n")
    except OSError:
        return


def _pump(reader: Reader, view: View, send: Callable[[bytes], None], fd: int, alive: int) -> None:
    poll = select.poll()
    poll.register(alive, 0)
    poll.register(fd, 0)
    while True:
        ready = dict(poll.poll(0))
        for data in batches(reader, view):
            send(data)
        if ready:
            return  # complete (or nobody listens): what was read after the sign is the whole
        poll.poll(POLL_MILLISECONDS)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
