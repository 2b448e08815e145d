"""The native backend: each active snapshot is a whole copy, for file systems that overlayfs cannot lie on.

A view needs no files of its own: it is its parent's, read-only.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from hakobune.containerd.snapshots.copy import copy_tree
from hakobune.containerd.snapshots.snapshotter import ACTIVE
from hakobune.spec.mount import Mount

NAME = "native"


class Native:
    """See Backend."""

    name = NAME
    rebases = False

    async def fill(self, place: str, kind: int, above: str) -> None:
        """Copy in a thread. Cancelled, the copy ends soon: its place is taken away."""
        os.mkdir(f"{place}/fs", 0o755)
        if above and kind == ACTIVE:
            await asyncio.to_thread(copy_tree, f"{above}/fs", f"{place}/fs")

    def mounts(self, own: str, kind: int, below: Sequence[str]) -> tuple[Mount, ...]:
        """One bind."""
        if kind == ACTIVE:
            return (Mount("bind", f"{own}/fs", "", ("rbind", "rw")),)
        return (Mount("bind", f"{below[0] if below else own}/fs", "", ("rbind", "ro")),)

    def files(self, own: str) -> str:
        """All of it: nothing is shared."""
        return f"{own}/fs"
