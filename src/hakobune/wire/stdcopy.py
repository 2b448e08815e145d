"""Docker's multiplexed stream: 8 byte head (stream, 3 zeros, length u32 big endian), then the bytes.

Source: Docker Engine API, "Stream format" of ContainerAttach. Imports: nothing.
"""

from __future__ import annotations

STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}
NAMES = {number: name for name, number in STREAMS.items()}
HEAD_SIZE = 8


def frame(stream: str, data: bytes) -> bytes:
    """One frame of `stream` ("stdout", "stderr")."""
    return bytes((STREAMS[stream], 0, 0, 0)) + len(data).to_bytes(4, "big") + data


class Decoder:
    """Bytes in, (stream, data) out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """The frames that are complete now. Raises ValueError for an unknown stream."""
        self._buffer += data
        found = []
        while len(self._buffer) >= HEAD_SIZE:
            end = HEAD_SIZE + int.from_bytes(self._buffer[4:8], "big")
            if len(self._buffer) < end:
                break
            name = NAMES.get(self._buffer[0])
            if name is None:
                raise ValueError(f"stdcopy: stream {self._buffer[0]} is unknown")
            found.append((name, bytes(self._buffer[HEAD_SIZE:end])))
            del self._buffer[:end]
        return found
