"""How far each blob of a transfer is, told to the client at its own pace: what is moved never waits for it.

The events are containerd's: waiting, downloading or uploading, complete, already exists, extracting, extracted. Each
change of state is told once, a state's progress as often as the client takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from hakobune.containerd.transfer.deps import Tell
from hakobune.containerd.transfer.tree import Node

EVERY_SECONDS = 0.1
END_SECONDS = 10.0  # how long a client may take for the last of it
WAITING, DOWNLOADING, UPLOADING = "waiting", "downloading", "uploading"
COMPLETE, EXISTS, EXTRACTING, EXTRACTED = "complete", "already exists", "extracting", "extracted"
_FULL = frozenset((COMPLETE, EXISTS, EXTRACTED))


@dataclass
class _State:
    node: Node
    event: str
    progress: int
    parents: Sequence[str]


class Tracker:
    """`async with Tracker(tell, name):` tells what is said to it, the last of it before the end."""

    def __init__(self, tell: Tell, root: str) -> None:
        self._tell = tell
        self._root = root
        self._now: dict[str, _State] = {}  # by digest: the state that was said last
        self._untold: list[_State] = []
        self._news = asyncio.Event()
        self._over = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None

    def add(self, node: Node, parent: Node | None = None, *, there: bool = False) -> None:
        """Something that will be moved, or is there already."""
        if node.digest not in self._now:
            event, progress = (EXISTS, node.size) if there else (WAITING, 0)
            self._put(node, event, progress, (parent.ref if parent else self._root,))

    def said(self, node: Node, event: str, progress: int = 0) -> None:
        """It is in this state now."""
        known = self._now.get(node.digest)
        if known is not None and known.event == event:
            known.progress = progress
            if known not in self._untold:
                self._untold.append(known)
            self._news.set()
            return
        progress = node.size if event in _FULL else progress
        self._put(node, event, progress, known.parents if known else (self._root,))

    def _put(self, node: Node, event: str, progress: int, parents: Sequence[str]) -> None:
        state = self._now[node.digest] = _State(node, event, progress, parents)
        self._untold.append(state)
        self._news.set()

    async def _run(self) -> None:
        while not (self._over.is_set() and not self._untold):
            await self._news.wait()
            self._news.clear()
            untold, self._untold = self._untold, []
            for one in untold:
                await self._tell(
                    one.event,
                    one.node.ref,
                    one.node,
                    progress=one.progress,
                    total=one.node.size,
                    parents=one.parents,
                )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), EVERY_SECONDS)

    async def __aenter__(self) -> Self:
        self._telling = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._telling is not None
        self._over.set()
        self._news.set()
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            self._telling.cancel()
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(self._telling, END_SECONDS)
