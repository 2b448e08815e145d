"""One task: its bundle, its shim, and its end when the shim is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.empty_pb2 import Empty

from hakobune.cgroups.cgroup import Cgroup
from hakobune.containerd.tasks.bundle import Bundle
from hakobune.containerd.tasks.shim import Shim
from hakobune.errors import HakoError, Unavailable
from hakobune.failpoint import reach
from hakobune.oci import hooks
from hakobune.proto import shim_pb2 as pb

KILLED = 137
POSTSTOP = "poststop"  # in the bundle: the hooks of a container's end, which its shim has not run
SHUTDOWN_SECONDS = 5.0
_RECORD_SECONDS = 0.5  # how long a zygote may take to write down the end of a shim that was killed
_LOG = logging.getLogger("hakobune.tasks")


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended; `at` in nanoseconds since the epoch."""

    pid: int
    status: int
    at: int


class Task:
    """Owns the connection to its shim. `on_end(task, exec_id, end)` tells ends that no shim will tell."""

    def __init__(self, bundle: Bundle, on_end: Callable[[Task, str, End], None]) -> None:
        self.bundle = bundle
        self.pid = 0
        self.execs: dict[str, int] = {}  # pids of execs that were started
        self.told: set[str] = set()  # whose exit has been published: exec ids, "" for init
        self.end: End | None = None  # known only when the shim is lost
        self.made = asyncio.Event()  # its Create has been answered: until then nobody but Create may touch it
        self._shim: Shim | None = None
        self._on_end = on_end
        self._lost: asyncio.Task[None] | None = None

    @property
    def shim(self) -> Shim:
        """Raises Unavailable when it was lost."""
        if self._shim is None or not self._shim.connected:
            raise Unavailable(f"the shim of task {self.bundle.id!r} has gone")
        return self._shim

    async def connect(self) -> None:
        """Raises Unavailable when nobody listens."""
        self._shim = await Shim.connect(self.bundle.socket, self._on_lost)

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
        await asyncio.to_thread(self._kill)
        reach("containerd.bury.killed")
        found = self.bundle.exit_status()
        for _ in range(int(_RECORD_SECONDS / 0.02)):
            if found is not None:
                break
            await asyncio.sleep(0.02)
            found = self.bundle.exit_status()
        status, at = found or self.bundle.record_exit(KILLED)
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

    def _kill(self) -> None:
        """In a thread: everything in the cgroup, and wait for its end."""
        path = self.bundle.cgroup()
        if path:
            with contextlib.suppress(OSError, HakoError):
                cgroup = Cgroup.find(path)
                cgroup.kill()
                cgroup.wait_empty(2.0)

    def _remove_cgroup(self) -> None:
        path = self.bundle.cgroup()
        if path:
            self._kill()
            try:
                Cgroup.find(path).delete(remove_empty_parents=True)
            except (OSError, HakoError) as err:
                _LOG.warning("cgroup %s of %s: %s", path, self.bundle.id, err)

    async def dispose(self, *, lost: bool = False) -> None:
        """End the shim and remove what it leaves. `lost`: it may have left more than a shim does."""
        if self._shim is not None and self._shim.connected:
            request = pb.ShutdownRequest(id=self.bundle.id, now=lost)
            with contextlib.suppress(HakoError):
                await self._shim.call("Shutdown", request, Empty, SHUTDOWN_SECONDS)
        if self._shim is not None:
            self._shim.close()
        reach("containerd.dispose.shutdown")
        if lost:
            await asyncio.to_thread(self._remove_cgroup)
            for failed in await asyncio.to_thread(hooks.run_after, f"{self.bundle.path}/{POSTSTOP}"):
                _LOG.warning("%s/%s: %s", self.bundle.namespace, self.bundle.id, failed)
        reach("containerd.dispose.cgroup")
        self.bundle.remove()
        reach("containerd.dispose.bundle")

    def close(self) -> None:
        """Hang up and leave everything to the next manager."""
        if self._shim is not None:
            self._shim.close()
        if self._lost is not None:
            self._lost.cancel()
