"""One process after the other goes on as newer code; what did not is told and stays as it was.

Shims go a few at a time: each asks the zygote for a fork, and for that moment nobody reads its container's output.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any

from hakobune.containerd.tasks.task import Task
from hakobune.containerd.tasks.tasks import Tasks
from hakobune.errors import HakoError, Unimplemented
from hakobune.shim.manager_client import Zygote

AT_ONCE = 2
SECONDS = 30.0  # for one shim


@dataclass(frozen=True, slots=True)
class Renewed:
    """`process` is zygote or shim; releases are "" and `error` says why when it goes on as it was."""

    process: str
    namespace: str = ""
    id: str = ""
    previous: str = ""
    release: str = ""
    error: str = ""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


async def renew(tasks: Tasks, zygote: Zygote) -> AsyncIterator[Renewed]:
    """The zygote first, then every shim; each as soon as it is through."""
    try:
        previous, release = await zygote.upgrade(sys.executable)
        yield Renewed("zygote", previous=previous, release=release)
    except HakoError as err:
        yield Renewed("zygote", error=str(err))
    turn = asyncio.Semaphore(AT_ONCE)
    under_way = [asyncio.ensure_future(_one(task, turn)) for task in tasks.every()]
    try:
        for done in asyncio.as_completed(under_way):
            yield await done
    finally:
        for one in under_way:
            one.cancel()


async def _one(task: Task, turn: asyncio.Semaphore) -> Renewed:
    bundle = task.bundle
    async with turn:
        try:
            found = await task.shim.renew(sys.executable, SECONDS)
        except Unimplemented:
            return Renewed(
                "shim", bundle.namespace, bundle.id, error="its shim is not one that can be renewed"
            )
        except (HakoError, ValueError) as err:
            return Renewed("shim", bundle.namespace, bundle.id, error=str(err))
    return Renewed("shim", bundle.namespace, bundle.id, found.previous, found.release)
