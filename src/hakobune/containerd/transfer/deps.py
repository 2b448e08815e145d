"""What transfers use of the manager, and how they tell how far they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hakobune.containerd.content.store import Content
from hakobune.containerd.events.exchange import Exchange
from hakobune.containerd.images.store import Images
from hakobune.containerd.leases.store import Leases
from hakobune.containerd.metadata.collector import Collector
from hakobune.containerd.snapshots.snapshotter import Snapshotters
from hakobune.containerd.streaming.streams import Streams
from hakobune.containerd.transfer.downloads import Downloads
from hakobune.containerd.transfer.tree import Node


class Tell(Protocol):
    """`await tell(event, name, what it is about)`: waits while the client does not read."""

    async def __call__(
        self,
        event: str,
        about: str,
        node: Node | None,
        *,
        progress: int = 0,
        total: int = 0,
        parents: Sequence[str] = (),
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Deps:
    """The parts of the manager that a transfer moves things between."""

    content: Content
    images: Images
    snapshotters: Snapshotters
    leases: Leases
    streams: Streams
    exchange: Exchange
    collector: Collector
    downloads: Downloads = field(default_factory=Downloads)
