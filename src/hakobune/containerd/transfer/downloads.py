"""Blobs from a registry into the store, each once, however many pulls wait for it.

A blob is written under containerd's name for it (`layer-sha256:…`), so what a cut pull leaves is found by the next one: the
part on disk is hashed again and the rest is asked for. It stays while anybody wants it and ends with the last one.
Who wants the bytes while they come reads that file, as far as `moved` says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

from hakobune.containerd.content.store import Writer
from hakobune.containerd.transfer.blobs import Blobs
from hakobune.containerd.transfer.tree import Node
from hakobune.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    HakoError,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from hakobune.failpoint import reach
from hakobune.registry.ranges import in_order
from hakobune.registry.repository import Repository
from hakobune.spec.descriptor import Descriptor
from hakobune.transport.cancellation import asked_to_end
from hakobune.transport.pieces import joined

_WRITE_SIZE = 1 << 19  # bytes that are worth a thread
_LOCKED_SECONDS = 0.2  # between looks at a write that somebody else has
Moved = Callable[[int], None]


class _Work:
    """One download, and who is interested."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.waiting = 0
        self.listeners: set[Moved] = set()


class Downloads:
    """Of one manager."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], _Work] = {}

    async def get(
        self, blobs: Blobs, repository: Repository, node: Node, labels: Mapping[str, str], moved: Moved,
        urls: Sequence[str] = (),
    ) -> bool:  # fmt: skip
        """See to it that the namespace has the blob; whether it had to be fetched.

        `moved(offset)` hears how far it is. Raises what the registry does, DataLoss when the bytes are other ones,
        ResourceExhausted. Cancelled, the part stays for the next one, unless somebody else still waits for the blob.
        """
        blobs.hold(node.digest)
        key = blobs.namespace, node.digest
        while not blobs.has(node.digest):
            work = self._running.get(key)
            mine = work is None
            if work is None:
                work = self._start(key, blobs, repository, node, labels, urls)
            try:
                await self._join(work, moved)
                return True
            except (HakoError, asyncio.CancelledError):
                if mine or not work.task.done() or asked_to_end():
                    raise  # else: it was another one's that failed, and ours may not
        blobs.label(node.digest, labels)
        return False

    def _start(
        self, key: tuple[str, str], blobs: Blobs, repository: Repository, node: Node, labels: Mapping[str, str],
        urls: Sequence[str],
    ) -> _Work:  # fmt: skip
        def tell(offset: int) -> None:
            for listener in list(work.listeners):
                listener(offset)

        task = asyncio.get_running_loop().create_task(download(blobs, repository, node, labels, tell, urls))
        work = self._running[key] = _Work(task)
        task.add_done_callback(lambda done: self._ended(key, done))
        return work

    def _ended(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # seen, also when nobody waits any more

    async def _join(self, work: _Work, moved: Moved) -> None:
        work.waiting += 1
        work.listeners.add(moved)
        try:
            await asyncio.shield(work.task)
        finally:
            work.listeners.discard(moved)
            work.waiting -= 1
            if not work.waiting and not work.task.done():
                work.task.cancel()
                with contextlib.suppress(asyncio.CancelledError, HakoError):
                    await work.task


async def download(
    blobs: Blobs, repository: Repository, node: Node, labels: Mapping[str, str], moved: Moved,
    urls: Sequence[str] = (),
) -> None:  # fmt: skip
    """Fetch one; goes on from what is on disk. For what it raises and leaves see `Downloads.get`."""
    if node.size < 0:
        raise InvalidArgument(f"{node.digest}: a size of {node.size} bytes")
    writer = await _writer(blobs, node)
    if writer is None:
        return
    resumed = writer.offset > 0
    try:
        await _fill(writer, repository, node, moved, urls)
        reach("transfer.pull.commit")
        await blobs.commit(writer, node.digest, node.size, labels)
    except AlreadyExists:
        blobs.label(node.digest, labels)
    except FailedPrecondition as err:
        _forget(blobs, writer, node)
        if resumed:  # perhaps the part on disk was damaged
            await download(blobs, repository, node, labels, moved, urls)
            return
        raise DataLoss(f"filesystem layer verification failed for digest {node.digest}: {err}") from err
    except (ResourceExhausted, DataLoss, InvalidArgument, NotFound):
        _forget(blobs, writer, node)  # a part that is of no use, or in the way
        raise
    finally:
        writer.close()


def _forget(blobs: Blobs, writer: Writer, node: Node) -> None:
    writer.close()
    with contextlib.suppress(HakoError):
        blobs.abort(node.ref)


async def _writer(blobs: Blobs, node: Node) -> Writer | None:
    """The one writer of this blob, when nobody else has it any more; None when it is there by then."""
    while True:
        try:
            return blobs.writer(node.ref, node.size, node.digest)
        except AlreadyExists:
            return None
        except Unavailable:  # a client writes it through the content service
            await asyncio.sleep(_LOCKED_SECONDS)


async def _fill(
    writer: Writer, repository: Repository, node: Node, moved: Moved, urls: Sequence[str]
) -> None:
    if writer.offset > node.size:
        await writer.write(b"", 0)
    await writer.again()
    moved(writer.offset)
    descriptor = Descriptor(node.media_type, node.digest, node.size)
    async with contextlib.aclosing(in_order(repository, descriptor, writer.offset, urls)) as parts:
        async for part in joined(parts, _WRITE_SIZE):
            await writer.write(part, writer.offset)
            moved(writer.offset)
            reach("transfer.pull.part")
