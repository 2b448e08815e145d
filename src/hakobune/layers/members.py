"""Writing a tar stream member by member: the opposite of `tar`, with its `Entry`.

ustar headers; what they cannot hold (long names, names that are not ASCII, fractions of a second, large numbers,
extended attributes) goes before them as PAX records (pax(1), "pax Extended Header"). No user or group names: they
would be the host's. The archive ends with two blocks of zeros and no padding to a record.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Protocol

from hakobune.layers.tar import BLOCK, BLOCK_DEVICE, CHARACTER, REGULAR, Entry

_NAME = 100  # bytes
_SECOND = 1_000_000_000
_END = bytes(2 * BLOCK)
_DEVICES = (CHARACTER, BLOCK_DEVICE)


class Out(Protocol):
    """Where the stream goes."""

    def write(self, data: bytes, /) -> object:
        """All of it."""


class Writer:
    """One archive, from its first member to `close`."""

    def __init__(self, out: Out) -> None:
        self._out = out

    def add(self, entry: Entry, data: Iterable[bytes] = ()) -> None:
        """One member; `data` in pieces. What is missing of `entry.size` is filled with zeros, a rest is left out.

        A file that shrinks or grows while it is read must not spoil the archive.
        """
        self._out.write(header(entry))
        parts = iter(data)
        left = entry.size if entry.kind == REGULAR else 0
        padding = -left % BLOCK
        while left and (part := next(parts, b"")):
            self._out.write(part[:left])
            left -= min(len(part), left)
        while left:
            part = bytes(min(left, 1 << 20))
            self._out.write(part)
            left -= len(part)
        if padding:
            self._out.write(bytes(padding))

    def close(self) -> None:
        """The end mark."""
        self._out.write(_END)


def header(entry: Entry) -> bytes:
    """The blocks before a member's data."""
    records: dict[str, bytes] = {}
    name = _text(
        entry.name + "/" if entry.kind == "5" and not entry.name.endswith("/") else entry.name,
        "path",
        records,
    )
    link = _text(entry.link, "linkpath", records)
    size = entry.size if entry.kind == REGULAR else 0
    seconds, fraction = divmod(entry.mtime_ns, _SECOND)
    if fraction or seconds < 0:
        records["mtime"] = _time(entry.mtime_ns)
    numbers = b"".join([
        _octal(entry.mode & 0o7777, 8, "mode", records), _octal(entry.uid, 8, "uid", records),
        _octal(entry.gid, 8, "gid", records), _octal(size, 12, "size", records),
        _octal(max(seconds, 0), 12, "mtime", records),
    ])  # fmt: skip
    for attribute, value in sorted(entry.xattrs.items()):
        records[f"SCHILY.xattr.{attribute}"] = value
    major, minor = (entry.major, entry.minor) if entry.kind in _DEVICES else (0, 0)
    block = _block(name, numbers, entry.kind, link, major, minor)
    if not records:
        return block
    data = b"".join(_record(key, value) for key, value in records.items())
    size_only = b"".join(
        [_digits(0o644, 8), _digits(0, 8), _digits(0, 8), _digits(len(data), 12), _digits(0, 12)]
    )
    above = _block(b"PaxHeaders.0/entry", size_only, "x", b"", 0, 0)
    return above + data + bytes(-len(data) % BLOCK) + block


def _block(name: bytes, numbers: bytes, kind: str, link: bytes, major: int, minor: int) -> bytes:
    devices = _digits(major, 8) + _digits(minor, 8)
    before = name.ljust(_NAME, b"\0") + numbers
    after = kind.encode() + link.ljust(_NAME, b"\0") + b"ustar\x0000" + bytes(64) + devices
    total = sum(before) + 8 * ord(" ") + sum(after)  # the sum counts its own field as blanks
    return (before + b"%06o\0 " % total + after).ljust(BLOCK, b"\0")


def _text(text: str, key: str, records: dict[str, bytes]) -> bytes:
    raw = os.fsencode(text)
    if len(raw) <= _NAME and raw.isascii():
        return raw
    records[key] = raw
    return raw[:_NAME]


def _octal(value: int, width: int, key: str, records: dict[str, bytes]) -> bytes:
    if 0 <= value < 8 ** (width - 1):
        return _digits(value, width)
    records.setdefault(key, b"%d" % value)
    return _digits(0, width)


def _digits(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def _time(nanoseconds: int) -> bytes:
    sign, (seconds, fraction) = ("-" if nanoseconds < 0 else ""), divmod(abs(nanoseconds), _SECOND)
    return f"{sign}{seconds}.{fraction:09}".rstrip("0").rstrip(".").encode()


def _record(key: str, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where LENGTH counts itself."""
    rest = b" %s=%s\n" % (os.fsencode(key), value)
    length = len(rest) + 1
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return b"%d%s" % (length, rest)
