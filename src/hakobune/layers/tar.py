"""Reading a tar stream entry by entry: ustar, PAX, GNU long names, old and new sparse files.

Own code and not `tarfile`, because that keeps every member, reads extension headers of any size into
memory, and mixes parsing with extraction. Here every extension is bounded, and data is handed out in
chunks that the caller must use before the next entry. Bytes in, entries out: names stay bytes-true as
`str` with surrogates (os.fsdecode). No I/O but for the chunks that are given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from hakobune.errors import InvalidArgument

BLOCK = 512
_MAX_EXTENSION = 1 << 20  # one PAX header: more than any xattr (64 KiB) and path (4 KiB) needs
_MAX_LONG_NAME = 1 << 16
_MAX_SEGMENTS = 1 << 20
_MAX_SECONDS = 7_258_118_400
_ZERO = bytes(BLOCK)

REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = "0", "1", "2", "3", "4", "5", "6"
_HEADER_ONLY = (HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO)


@dataclass(slots=True)
class Entry:
    """One member. `size` is the file's length; `stored` what lies in the archive (less when sparse).

    `segments` is None for an ordinary file, else (offset, length) of each piece of data in order.
    Times are nanoseconds since 1970; `xattrs` are names and raw values.
    """

    name: str
    kind: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int = 0
    link: str = ""
    major: int = 0
    minor: int = 0
    stored: int = 0
    segments: list[tuple[int, int]] | None = None
    xattrs: dict[str, bytes] = field(default_factory=dict)


class Stream:
    """Exact reads over a sequence of chunks; counts what has passed."""

    __slots__ = ("_buffer", "_chunks", "_start", "count")

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = b""
        self._start = 0
        self.count = 0

    def some(self, most: int) -> bytes:
        """1 to `most` bytes; empty only at the end."""
        if self._start == len(self._buffer):
            self._buffer, self._start = next(self._chunks, b""), 0
        part = self._buffer[self._start : self._start + most]
        self._start += len(part)
        self.count += len(part)
        return part

    def exactly(self, length: int, what: str) -> bytes:
        """`length` bytes. Raises InvalidArgument when the stream ends before."""
        first = self.some(length)
        if len(first) == length:
            return first
        parts, got = [first], len(first)
        while got < length:
            part = self.some(length - got)
            if not part:
                raise InvalidArgument(f"tar archive ends inside {what}")
            parts.append(part)
            got += len(part)
        return b"".join(parts)

    def skip(self, length: int, what: str) -> None:
        """As `exactly`, without keeping the bytes."""
        while length:
            part = self.some(length)
            if not part:
                raise InvalidArgument(f"tar archive ends inside {what}")
            length -= len(part)


def _number(raw: bytes, what: str) -> int:
    """Octal text, or base 256 when the top bit is set (GNU)."""
    if raw[0] & 0x80:
        negative = raw[0] & 0x40
        value = int.from_bytes(raw, "big", signed=False) & ((1 << (8 * len(raw) - 1)) - 1)
        return value - (1 << (8 * len(raw) - 1)) if negative else value
    text = raw.split(b"\0", 1)[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError as err:
        raise InvalidArgument(f"tar header: {what} {raw!r} is not a number") from err


def _text(raw: bytes) -> str:
    return os.fsdecode(raw.split(b"\0", 1)[0])


def _checked(header: bytes) -> bool:
    """Whether the checksum fits: unsigned as the standard has it, signed as old programs wrote it."""
    try:
        written = int(header[148:156].split(b"\0", 1)[0].strip() or b"0", 8)
    except ValueError:
        return False
    rest = header[:148] + header[156:]
    unsigned = sum(rest) + 8 * 32
    return written == unsigned or written == unsigned - 256 * sum(byte > 127 for byte in rest)


Pax = list[tuple[str, bytes]]


def _parse_pax(data: bytes) -> Pax:
    """`length key=value\\n` records; keys may repeat (sparse format 0.0)."""
    found: Pax = []
    at = 0
    while at < len(data) and data[at]:
        blank = data.find(b" ", at, at + 11)
        if blank < 0 or not data[at:blank].isdigit():
            raise InvalidArgument("tar archive: malformed PAX header")
        end = at + int(data[at:blank])
        key, equals, value = data[blank + 1 : end].partition(b"=")
        if end > len(data) or not equals or not value.endswith(b"\n"):
            raise InvalidArgument("tar archive: malformed PAX record")
        found.append((key.decode("utf-8", "replace"), value[:-1]))
        at = end
    return found


def _pax_integer(value: bytes, key: str) -> int:
    if not value.isdigit() or len(value) > 20:
        raise InvalidArgument(f"tar archive: PAX {key} {value[:40]!r} is not a number")
    return int(value)


def _pax_time(value: bytes) -> int:
    """`seconds[.fraction]`, possibly negative -> nanoseconds."""
    seconds, _, fraction = value.partition(b".")
    digits = seconds.removeprefix(b"-")
    if not digits.isdigit() or (fraction and not fraction.isdigit()):
        raise InvalidArgument(f"tar archive: PAX mtime {value[:40]!r} is not a time")
    nanoseconds = int((fraction[:9] + b"000000000")[:9])
    if seconds.startswith(b"-"):
        return _time(-int(digits[:20]), -nanoseconds)
    return _time(int(digits[:20]), nanoseconds)


def _time(seconds: int, nanoseconds: int) -> int:
    """Within what a 64-bit count of nanoseconds, and so every system call, can say (years 1740 to 2200)."""
    return max(-_MAX_SECONDS, min(seconds, _MAX_SECONDS)) * 1_000_000_000 + nanoseconds


class Reader:
    """Iterate for entries; between two of them read the data of the first with `data` (or leave it)."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._stream = Stream(chunks)
        self._left = 0  # stored bytes of the current entry not read yet
        self._padding = 0
        self._name = ""

    def __iter__(self) -> Iterator[Entry]:
        """Raises InvalidArgument for what is no tar archive, is damaged, or ends too early."""
        pax: Pax = []
        long_name = long_link = ""
        while (header := self._header()) is not None:
            kind = chr(header[156]) if header[156] else REGULAR
            if kind in "LK":
                text = _text(self._extension(header, _MAX_LONG_NAME))
                long_name, long_link = (text, long_link) if kind == "L" else (long_name, text)
            elif kind in "xX":
                pax = _parse_pax(self._extension(header, _MAX_EXTENSION))
            elif kind == "g":
                self._extension(header, _MAX_EXTENSION)  # global defaults: no layer relies on them
            else:
                entry = self._entry(header, kind, pax, long_name, long_link)
                pax, long_name, long_link = [], "", ""
                yield entry
                self._stream.skip(self._left + self._padding, repr(entry.name))
                self._left = self._padding = 0

    def _header(self) -> bytes | None:
        first = self._stream.count == 0
        start = self._stream.some(BLOCK)
        if not start:
            if first:
                raise InvalidArgument("not a tar archive: no data")
            return None
        header = start
        while len(header) < BLOCK and (part := self._stream.some(BLOCK - len(header))):
            header += part
        if len(header) < BLOCK:
            raise InvalidArgument("not a tar archive" if first else "tar archive ends inside a header")
        if header == _ZERO:
            return None
        if not _checked(header):
            raise InvalidArgument("not a tar archive" if first else "tar archive: damaged header")
        return header

    def _extension(self, header: bytes, most: int) -> bytes:
        size = _number(header[124:136], "size")
        if not 0 <= size <= most:
            raise InvalidArgument(f"tar archive: extension header of {size} bytes")
        data = self._stream.exactly(size, "an extension header")
        self._stream.skip(-size % BLOCK, "an extension header")
        return data

    def _entry(self, header: bytes, kind: str, pax: Pax, long_name: str, long_link: str) -> Entry:
        name = long_name or _text(header[0:100])
        if not long_name and header[257:263] == b"ustar\0" and header[345]:
            name = _text(header[345:500]) + "/" + name
        entry = Entry(
            name=name,
            kind=kind,
            mode=_number(header[100:108], "mode") & 0o7777,
            uid=_number(header[108:116], "uid"),
            gid=_number(header[116:124], "gid"),
            mtime_ns=_time(_number(header[136:148], "mtime"), 0),
            stored=_number(header[124:136], "size"),
            link=long_link or _text(header[157:257]),
        )
        if kind in (CHARACTER, BLOCK_DEVICE):
            entry.major, entry.minor = _number(header[329:337], "major"), _number(header[337:345], "minor")
        for key, value in pax:
            _override(entry, key, value)
        self._settle(entry, header, pax)
        return entry

    def _settle(self, entry: Entry, header: bytes, pax: Pax) -> None:
        """Kind, sizes, sparse map; sets what `data` will read."""
        if entry.kind in ("7", "S") or (entry.kind == REGULAR and not entry.name.endswith("/")):
            sparse_header = entry.kind == "S"
            entry.kind = REGULAR
        else:
            sparse_header = False
            if entry.kind == REGULAR:  # before POSIX a slash meant a directory
                entry.kind = DIRECTORY
            if entry.kind not in _HEADER_ONLY:
                raise InvalidArgument(f"tar archive: {entry.name!r} has unknown type {entry.kind!r}")
            entry.stored = 0
        if entry.stored < 0:
            raise InvalidArgument(f"tar archive: {entry.name!r} has size {entry.stored}")
        self._name = entry.name
        entry.size = self._left = entry.stored
        self._padding = -entry.stored % BLOCK
        if sparse_header:
            self._old_sparse(entry, header)
        elif entry.kind == REGULAR and any(key.startswith("GNU.sparse.") for key, _ in pax):
            self._pax_sparse(entry, pax)

    # sparse files -----------------------------------------------------------------------------------

    def _old_sparse(self, entry: Entry, header: bytes) -> None:
        """GNU type S: four segments in the header, 21 in each block after it."""
        segments: list[tuple[int, int]] = []
        _add_segments(segments, header[386:482])
        more = header[482]
        while more:
            block = self._stream.exactly(BLOCK, "a sparse map")
            _add_segments(segments, block[:504])
            more = block[504]
        _sparse(entry, segments, _number(header[483:495], "real size"))

    def _pax_sparse(self, entry: Entry, pax: Pax) -> None:
        """GNU.sparse 0.0 (repeated keys), 0.1 (one list), 1.0 (map before the data)."""
        values = dict(pax)
        if "GNU.sparse.name" in values:
            entry.name = os.fsdecode(values["GNU.sparse.name"])
        size_text = values.get("GNU.sparse.realsize") or values.get("GNU.sparse.size")
        if size_text is None:
            raise InvalidArgument(f"tar archive: {entry.name!r} is sparse without a size")
        if values.get("GNU.sparse.major") == b"1":
            numbers = self._map_in_data(entry)
        elif "GNU.sparse.map" in values:
            words = values["GNU.sparse.map"].split(b",")
            numbers = [_pax_integer(word, "GNU.sparse.map") for word in words if word]
        else:
            keys = ("GNU.sparse.offset", "GNU.sparse.numbytes")
            numbers = [_pax_integer(value, key) for key, value in pax if key in keys]
        if len(numbers) % 2:
            raise InvalidArgument(f"tar archive: {entry.name!r} has an odd sparse map")
        segments = list(zip(numbers[::2], numbers[1::2], strict=True))
        _sparse(entry, segments, _pax_integer(size_text, "GNU.sparse.realsize"))

    def _map_in_data(self, entry: Entry) -> list[int]:
        """Decimal lines: count, then offset and length of each; padded to a block."""
        pending, wanted = b"", 1
        numbers: list[int] = []
        while len(numbers) < wanted:
            if self._left < BLOCK or len(pending) > BLOCK:
                raise InvalidArgument(f"tar archive: {entry.name!r} has a cut sparse map")
            block = self._stream.exactly(BLOCK, "a sparse map")
            self._left -= BLOCK
            *complete, pending = (pending + block).split(b"\n")
            for line in complete:
                if len(numbers) < wanted:
                    numbers.append(_pax_integer(line, "sparse map"))
                if len(numbers) == 1:
                    wanted = 1 + 2 * min(numbers[0], _MAX_SEGMENTS + 1)
        entry.stored = self._left
        return numbers[1:]

    # data -------------------------------------------------------------------------------------------

    def data(self, length: int | None = None) -> Iterator[bytes]:
        """The next `length` stored bytes (all that is left by default) in chunks."""
        wanted = self._left if length is None else min(length, self._left)
        while wanted:
            part = self._stream.some(wanted)
            if not part:
                raise InvalidArgument(f"tar archive ends inside {self._name!r}")
            wanted -= len(part)
            self._left -= len(part)
            yield part

    def drain(self) -> int:
        """Read to the end of the stream, past the archive's end mark; returns all bytes ever read."""
        while self._stream.some(1 << 20):
            pass
        return self._stream.count


_XATTR = "SCHILY.xattr."


def _override(entry: Entry, key: str, value: bytes) -> None:
    """What one PAX record changes."""
    if key in ("path", "linkpath"):
        if not value or b"\0" in value:
            raise InvalidArgument(f"tar archive: PAX {key} {value[:40]!r} is not a path")
        if key == "linkpath":
            entry.link = os.fsdecode(value)
        else:
            entry.name = os.fsdecode(value)
    elif key == "size":
        entry.stored = _pax_integer(value, key)
    elif key == "uid":
        entry.uid = _pax_integer(value, key)
    elif key == "gid":
        entry.gid = _pax_integer(value, key)
    elif key == "mtime":
        entry.mtime_ns = _pax_time(value)
    elif key.startswith(_XATTR):
        entry.xattrs[key.removeprefix(_XATTR)] = value


def _add_segments(segments: list[tuple[int, int]], raw: bytes) -> None:
    if len(segments) > _MAX_SEGMENTS:
        raise InvalidArgument(f"tar archive: sparse file with more than {_MAX_SEGMENTS} segments")
    for at in range(0, len(raw) - 23, 24):
        if raw[at]:
            offset, length = _number(raw[at : at + 12], "offset"), _number(raw[at + 12 : at + 24], "length")
            segments.append((offset, length))


def _sparse(entry: Entry, segments: list[tuple[int, int]], size: int) -> None:
    """Check that segments rise, do not overlap, fit the file and the stored data."""
    position = total = 0
    for offset, length in segments:
        if length < 0 or offset < position or offset + length > size:
            raise InvalidArgument(f"tar archive: {entry.name!r} has a wrong sparse map")
        position = offset + length
        total += length
    if total > entry.stored or len(segments) > _MAX_SEGMENTS:
        raise InvalidArgument(f"tar archive: {entry.name!r} has a wrong sparse map")
    entry.size, entry.segments = size, segments
