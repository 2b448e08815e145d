"""Small parts of a stream joined to pieces that are worth a message, or a thread. Imports: errors."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hakobune.errors import HakoError


async def joined(parts: AsyncIterator[bytes], least: int) -> AsyncIterator[bytes]:
    """Pieces of at least `least` bytes, but for the last. What has come before a failure is handed out before that."""
    kept: list[bytes] = []
    size = 0
    try:
        async for part in parts:
            kept.append(part)
            size += len(part)
            if size >= least:
                yield b"".join(kept)
                kept, size = [], 0
    except HakoError:
        if kept:
            yield b"".join(kept)
        raise
    if kept:
        yield b"".join(kept)
