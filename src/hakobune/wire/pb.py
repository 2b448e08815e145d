"""A tiny protobuf codec for processes that must not load the library (shim, zygote).

A message is a mapping of field numbers to lists of raw values: ints for varints and fixed widths,
bytes for everything with a length. The caller knows the schema. Encoding: protobuf.dev/programming-
guides/encoding. Imports: nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

Fields = dict[int, list[int | bytes]]


def varint(value: int) -> bytes:
    """Base-128, least significant group first; negative numbers as 64-bit two's complement."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: int | bytes | str | bool) -> bytes:
    """One field; zero and empty values are left out, as proto3 does."""
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value if value else b""
    return varint(number << 3) + varint(int(value)) if value else b""


def message(number: int, value: bytes) -> bytes:
    """A sub-message, present even when it is empty."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("protobuf: a varint is cut or too long")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(data):
        raise ValueError("protobuf: a field is longer than its message")
    return data[at : at + size], at + size


def _items(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, at = _read_varint(data, at)
        elif kind == 2:
            size, at = _read_varint(data, at)
            value, at = _take(data, at, size)
        elif kind in (1, 5):
            raw, at = _take(data, at, 8 if kind == 1 else 4)
            value = int.from_bytes(raw, "little")
        else:
            raise ValueError(f"protobuf: wire type {kind} is unknown")
        yield tag >> 3, value


def decode(data: bytes) -> Fields:
    """All fields of a message, in order. Raises ValueError when it is malformed."""
    fields: Fields = {}
    for number, value in _items(data):
        fields.setdefault(number, []).append(value)
    return fields


def text(fields: Fields, number: int) -> str:
    """The last value of a string field; "" when absent."""
    value = fields.get(number, [b""])[-1]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def blob(fields: Fields, number: int) -> bytes:
    """The last value of a bytes or message field; b"" when absent."""
    value = fields.get(number, [b""])[-1]
    return value if isinstance(value, bytes) else b""


def number(fields: Fields, number: int) -> int:
    """The last value of an integer or bool field; 0 when absent."""
    value = fields.get(number, [0])[-1]
    return value if isinstance(value, int) else 0


def numbers(fields: Fields, number: int) -> list[int]:
    """All values of a repeated integer field, packed or not."""
    found: list[int] = []
    for value in fields.get(number, ()):
        at = 0
        while isinstance(value, bytes) and at < len(value):
            one, at = _read_varint(value, at)
            found.append(one)
        if isinstance(value, int):
            found.append(value)
    return found
