"""One task: its bundle, its shim, and its end when the shim is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.tasks.bundle import Bundle
from hakobune.containerd.tasks.makers import KILLED, Maker
from hakobune.containerd.tasks.shim import Shim
from hakobune.errors import HakoError, Unavailable
from hakobune.failpoint import reach
from hakobune.proto import shim_pb2 as pb

SHUTDOWN_SECONDS = 5.0
_LOG = logging.getLogger("hakobune.tasks")


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended; `at` in nanoseconds since the epoch."""

    pid: int
    status: int
    at: int


class Task:
    """Owns the connection to its shim. `on_end(task, exec_id, end)` tells ends that no shim will tell."""

    def __init__(self, bundle: Bundle, maker: Maker, on_end: Callable[[Task, str, End], None]) -> None:
        self.bundle = bundle
        self.maker = maker
        self.pid = 0
        self.execs: dict[str, int] = {}  # pids of execs that were started
        self.told: set[str] = set()  # whose exit has been published: exec ids, "" for init
        self.end: End | None = None  # known only when the shim is lost
        self.made = asyncio.Event()  # its Create has been answered: until then nobody but Create may touch it
        self._shim: Shim | None = None
        self._on_end = on_end
        self._lost: asyncio.Task[None] | None = None
        self._disposing = False

    @property
    def shim(self) -> Shim:
        """Raises Unavailable when it was lost."""
        if self._shim is None or not self._shim.connected:
            raise Unavailable(f"the shim of task {self.bundle.id!r} has gone")
        return self._shim

    async def connect(self) -> None:
        """Raises Unavailable when nobody listens, and what the maker says."""
        self._shim = await Shim.connect(await self.maker.seek(self.bundle), self._hung_up)

    def _hung_up(self) -> None:
        if not self._disposing:  # it was told to end
            self._on_lost()

    def _on_lost(self) -> None:
        self._lost = asyncio.ensure_future(self.bury(tell=True))

    async def lost(self) -> End:
        """For a call that found the shim gone: how the task ended, once that is clear."""
        if self._lost is None:
            self._on_lost()
        assert self._lost is not None
        await asyncio.shield(self._lost)
        assert self.end is not None
        return self.end

    async def bury(self, *, tell: bool) -> None:
        """The shim is gone: the container ends with it, and its exit is found or decided."""
        status, at = await self.maker.end(self.bundle)
        self.end = End(self.pid or self.bundle.pid(), status, at)
        _LOG.warning(
            "the shim of %s/%s is lost, exit status %d", self.bundle.namespace, self.bundle.id, status
        )
        if tell:
            for exec_id, pid in self.execs.items():
                if exec_id not in self.told:
                    self._on_end(self, exec_id, End(pid, KILLED, at))
            if "" not in self.told:
                self._on_end(self, "", self.end)

    async def dispose(self, *, lost: bool = False) -> None:
        """End the shim and remove what it leaves. `lost`: it may have left more than a shim does."""
        self._disposing = True
        if self._shim is not None and self._shim.connected:
            request = pb.ShutdownRequest(id=self.bundle.id, now=lost)
            with contextlib.suppress(HakoError):
                await self._shim.call("Shutdown", request, Empty, SHUTDOWN_SECONDS)
        if self._shim is not None:
            self._shim.close()
        reach("containerd.dispose.shutdown")
        if lost:
            await self.maker.clean(self.bundle)
        reach("containerd.dispose.cgroup")
        self.bundle.remove()
        reach("containerd.dispose.bundle")

    def close(self) -> None:
        """Hang up and leave everything to the next manager."""
        if self._shim is not None:
            self._shim.close()
        if self._lost is not None:
            self._lost.cancel()
