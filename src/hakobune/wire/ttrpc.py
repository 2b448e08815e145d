"""ttrpc frames and envelopes, sans I/O (github.com/containerd/ttrpc, PROTOCOL.md).

A frame is a 10 byte header (length u32, stream u32, type u8, flags u8; big endian) and its data. A
request's data is an envelope Request{service 1, method 2, payload 3, timeout_nano 4, metadata 5}, a
response's is Response{status 1 {code 1, message 2, details 3}, payload 2}. Imports: struct, wire.pb.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hakobune.wire import pb

REQUEST = 1
RESPONSE = 2
DATA = 3

MAX_DATA = 4 << 20

_HEAD = struct.Struct("!IIBB")


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; `data` is the envelope, still encoded."""

    stream: int
    type: int
    flags: int
    data: bytes


def pack(frame: Frame) -> bytes:
    """The frame's bytes. Raises ValueError when the data is too long."""
    if len(frame.data) > MAX_DATA:
        raise ValueError(f"ttrpc frame of {len(frame.data)} bytes is longer than {MAX_DATA}")
    return _HEAD.pack(len(frame.data), frame.stream, frame.type, frame.flags) + frame.data


class Decoder:
    """Bytes in, frames out."""

    def __init__(self, rest: bytes = b"") -> None:
        self._buffer = bytearray(rest)

    @property
    def rest(self) -> bytes:
        """The beginning of a frame that is not complete yet."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now. Raises ValueError for one that is too long."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= _HEAD.size:
            size, stream, kind, flags = _HEAD.unpack_from(self._buffer)
            if size > MAX_DATA:
                raise ValueError(f"ttrpc frame of {size} bytes is longer than {MAX_DATA}")
            end = _HEAD.size + size
            if len(self._buffer) < end:
                break
            frames.append(Frame(stream, kind, flags, bytes(self._buffer[_HEAD.size : end])))
            del self._buffer[:end]
        return frames


@dataclass(frozen=True, slots=True)
class Request:
    """A call; `timeout` in nanoseconds, 0 for none; `metadata` is pairs of key and value."""

    service: str
    method: str
    payload: bytes
    timeout: int = 0
    metadata: tuple[tuple[str, str], ...] = ()


def pack_request(request: Request) -> bytes:
    """The envelope's bytes."""
    return b"".join(
        (
            pb.field(1, request.service),
            pb.field(2, request.method),
            pb.field(3, request.payload),
            pb.field(4, request.timeout),
            *(pb.message(5, pb.field(1, key) + pb.field(2, value)) for key, value in request.metadata),
        )
    )


def unpack_request(data: bytes) -> Request:
    """Raises ValueError when it is malformed."""
    fields = pb.decode(data)
    return Request(
        pb.text(fields, 1), pb.text(fields, 2), pb.blob(fields, 3), pb.number(fields, 4),
        tuple(_pair(raw) for raw in fields.get(5, ()) if isinstance(raw, bytes)),
    )  # fmt: skip


def _pair(data: bytes) -> tuple[str, str]:
    fields = pb.decode(data)
    return pb.text(fields, 1), pb.text(fields, 2)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: a payload, or a gRPC code with its message."""

    payload: bytes = b""
    code: int = 0
    message: str = ""


def pack_response(response: Response) -> bytes:
    """The envelope's bytes."""
    status = b""
    if response.code:
        status = pb.message(1, pb.field(1, response.code) + pb.field(2, response.message))
    return status + pb.field(2, response.payload)


def unpack_response(data: bytes) -> Response:
    """Raises ValueError when it is malformed."""
    fields = pb.decode(data)
    status = pb.decode(pb.blob(fields, 1))
    return Response(pb.blob(fields, 2), pb.number(status, 1), pb.text(status, 2))
