"""Layers of an archive that are unpacked while they arrive, before anybody has said which image they are of.

An archive tells what its members are at its end. What looks like a layer and is worth a process is taken for one:
when it is none, or is of no image that is wanted, what was unpacked is thrown away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import BinaryIO

from hakobune.containerd.diff.unpack import Applied, Below, unpack_while_it_comes
from hakobune.containerd.snapshots.snapshotter import Snapshotter
from hakobune.containerd.transfer.blobs import Blobs
from hakobune.containerd.transfer.extraction import Extraction
from hakobune.containerd.transfer.growing import Growing
from hakobune.containerd.transfer.together import AT_ONCE
from hakobune.containerd.transfer.tree import Node
from hakobune.containerd.transfer.unpacking import Watch
from hakobune.layers import decompress
from hakobune.spec.mount import Mount

WORTH = 1 << 20  # bytes: of less, a process costs more than the time that it saves
_MAGIC, _MAGIC_AT = b"ustar", 257  # of an archive that is not compressed: pax, GNU's, and POSIX's


class Early(Watch):
    """`async with Early(blobs, snapshots) as early:`; as a Watch it gives away what it has unpacked.

    Without a snapshotter, or with one that has to know the layers below first, blobs are stored and no more. Left,
    what was not given away is removed.
    """

    def __init__(self, blobs: Blobs, snapshots: Snapshotter | None) -> None:
        self._blobs = blobs
        self._snapshots = snapshots if snapshots is not None and snapshots.rebases else None
        self._begun: dict[str, Extraction] = {}

    async def __aenter__(self) -> Early:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _close(list(self._begun.values()))

    def begun(self, layer: Node) -> Extraction | None:
        """Once for each."""
        return self._begun.pop(layer.digest, None)

    async def put(self, parts: AsyncIterator[bytes], size: int, known: str = "") -> tuple[str, int]:
        """Store a member of `size` bytes, whose digest may be `known`; (digest, size). Raises what Blobs.put does."""
        start = await anext(parts, b"")
        whole = _after(start, parts)
        if self._snapshots is None or not self._promises(start, size, known):
            return await self._blobs.put(whole)
        growing, made = Growing(), list[Extraction]()

        def begun(path: str) -> None:
            made.append(self._extract(open(path, "rb"), growing, size))

        try:
            digest, stored = await self._blobs.put(_heard(whole, growing), begun=begun)
        except BaseException:
            await _close(made)
            raise
        if digest in self._begun:
            await _close(made)
        else:
            self._begun[digest] = made.pop()
        return digest, stored

    def _extract(self, source: BinaryIO, growing: Growing, size: int) -> Extraction:
        assert self._snapshots is not None

        async def work(mounts: Sequence[Mount], below: Below) -> Applied | None:
            return await unpack_while_it_comes(source, growing, size, mounts, below)

        extraction = Extraction(self._blobs, self._snapshots, "", work)
        extraction.afterwards(source.close)
        return extraction

    def _promises(self, start: bytes, size: int, known: str) -> bool:
        if size < WORTH or len(self._begun) >= AT_ONCE or (known and self._blobs.has(known)):
            return False
        return decompress.detect(start) != "none" or start[_MAGIC_AT:].startswith(_MAGIC)


async def _close(extractions: Sequence[Extraction]) -> None:
    for extraction in extractions:
        await extraction.close()


async def _after(start: bytes, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield start
    async for part in parts:
        yield part


async def _heard(parts: AsyncIterator[bytes], growing: Growing) -> AsyncIterator[bytes]:
    """Who takes the next one has written those before."""
    offset = 0
    try:
        async for part in parts:
            yield part
            offset += len(part)
            growing.moved(offset)
        growing.end(whole=True)
    finally:
        if not growing.over:
            growing.end(whole=False)
