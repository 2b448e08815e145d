"""A layer on its way into a snapshot: unpacked onto nothing, and laid onto the layers below when it is done.

So layers need not wait for each other, nor for somebody who knows which image they are of. A snapshotter whose
snapshots cannot be laid onto others afterwards is told at the beginning.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType

from hakobune.containerd.diff.unpack import Applied, Below
from hakobune.containerd.snapshots.snapshotter import ACTIVE, UNDER_WAY, Snapshotter
from hakobune.containerd.transfer.blobs import Blobs
from hakobune.errors import AlreadyExists, HakoError
from hakobune.spec.mount import Mount

CHAIN = "containerd.io/snapshot.ref"
Work = Callable[[Sequence[Mount], Below], Awaitable[Applied | None]]


class Extraction:
    """One, under way from the beginning. Use as an async context manager: what has not been committed goes with it."""

    def __init__(self, blobs: Blobs, snapshots: Snapshotter, below: str, work: Work) -> None:
        """`below`: the snapshot that it is made on, "" for none or for one that `commit` is told."""
        self._blobs, self._snapshots, self._on = blobs, snapshots, below
        self._key = f"extract-{secrets.token_hex(8)}"
        self._below: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
        self._applied = asyncio.create_task(self._run(work))

    async def __aenter__(self) -> Extraction:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, work: Work) -> Applied | None:
        space, labels = self._blobs.namespace, {UNDER_WAY: ""}
        mounts = await self._snapshots.make(
            space, self._key, self._on, labels, kind=ACTIVE, lease=self._blobs.lease
        )
        return await work(mounts, self._below)

    def afterwards(self, call: Callable[[], None]) -> None:
        """Once, when the work has ended however it did."""
        self._applied.add_done_callback(lambda _work: call())

    async def lay_onto(self, below: str) -> Applied | None:
        """Unpacked, on the committed snapshot `below`. Raises what the work does, NotFound."""
        if not self._below.done():
            self._below.set_result(self._snapshots.directories(self._blobs.namespace, below))
        return await self._applied

    async def commit(self, name: str, below: str) -> None:
        """It is the snapshot `name` now, or somebody else's is. Raises NotFound, InvalidArgument."""
        with contextlib.suppress(AlreadyExists):  # somebody was faster
            await self._snapshots.commit(
                self._blobs.namespace, name, self._key, {CHAIN: name}, lease=self._blobs.lease,
                onto="" if self._on else below,
            )  # fmt: skip

    async def close(self) -> None:
        """End the work, and remove what it made; silent about a snapshot that was committed."""
        self._applied.cancel()
        await asyncio.gather(self._applied, return_exceptions=True)
        with contextlib.suppress(HakoError):
            self._snapshots.remove(self._blobs.namespace, self._key)
