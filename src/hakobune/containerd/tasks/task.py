"""One task: its bundle, its shim, and its end when the shim is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from hakobune.containerd.tasks.bundle import Bundle
from hakobune.containerd.tasks.makers import KILLED, Maker
from hakobune.containerd.tasks.shim import Shim
from hakobune.errors import AlreadyExists, DeadlineExceeded, FailedPrecondition, HakoError, Unavailable
from hakobune.failpoint import reach
from hakobune.proto import shim_pb2 as pb
from hakobune.proto import task_types_pb2

BOOT_SECONDS = 5.0
SHUTDOWN_SECONDS = 5.0
_DONE_ONCE = {"Create", "Start", "Exec", "Pause", "Resume"}  # asked again they are refused, and stand
Response = TypeVar("Response", bound=Message)
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
        self._again: asyncio.Task[None] | None = None
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

    async def ask(
        self, method: str, request: Message, response: type[Response], timeout: float = 0
    ) -> Response:
        """One call. Raises the shim's own HakoError, Unavailable when it has gone.

        A connection that breaks between two who live is made again and the call repeated; where the shim
        refuses the repetition, because it has done what it was asked, that is its answer.
        """
        repeated = False
        while True:
            try:
                return await self.shim.call(method, request, response, timeout)
            except Unavailable:
                if not await self._connected_again():
                    raise
                repeated = True
            except (AlreadyExists, FailedPrecondition):
                if not repeated or method not in _DONE_ONCE:
                    raise
                return await self._done(request, response)

    async def _done(self, request: Message, response: type[Response]) -> Response:
        """What the shim has answered on a connection that broke, or will when a Create is through."""
        if "pid" not in response.DESCRIPTOR.fields_by_name:
            return response()
        return response(pid=await self.made_pid(getattr(request, "exec_id", "")))

    async def made_pid(self, exec_id: str = "") -> int:
        """The pid of what has been made; a Create that is under way is waited for. Raises NotFound, DeadlineExceeded."""
        request = pb.StateRequest(id=self.bundle.id, exec_id=exec_id)
        for _ in range(int(BOOT_SECONDS / 0.05)):
            found = await self.ask("State", request, pb.StateResponse, BOOT_SECONDS)
            if found.status != task_types_pb2.UNKNOWN:
                return int(found.pid)
            await asyncio.sleep(0.05)
        raise DeadlineExceeded(f"task {self.bundle.id} is still being made")

    async def _connected_again(self) -> bool:
        """Until there is a connection that has not broken meanwhile, too; False when nobody listens."""
        while self._shim is not None and not self._shim.connected:
            if self._disposing or self._lost is not None:
                return False
            if self._again is None or self._again.done():
                self._again = asyncio.ensure_future(self._reconnect())
            await asyncio.shield(self._again)
        return self._shim is not None

    def _hung_up(self) -> None:
        if not self._disposing:  # it was told to end
            self._again = asyncio.ensure_future(self._reconnect())

    async def _reconnect(self) -> None:
        """A shim that listens lives, whatever became of the connection; one that does not is lost."""
        try:
            await self.connect()
        except HakoError:
            self._on_lost()
        else:
            _LOG.warning("the connection to the shim of %s/%s broke: made again", *self._key)

    @property
    def _key(self) -> tuple[str, str]:
        return self.bundle.namespace, self.bundle.id

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
        _LOG.warning("the shim of %s/%s is lost, exit status %d", *self._key, status)
        if tell:
            for exec_id, pid in self.execs.items():
                if exec_id not in self.told:
                    self._on_end(self, exec_id, End(pid, KILLED, at))
            if "" not in self.told:
                self._on_end(self, "", self.end)

    async def dispose(self, *, lost: bool = False) -> None:
        """End the shim and remove what it leaves. `lost`: it may have left more than a shim does."""
        self._disposing = True
        if self._again is not None:
            await self._again
        await self._end_shim(now=lost)
        if self._shim is not None:
            self._shim.close()
        reach("containerd.dispose.shutdown")
        if lost:
            await self.maker.clean(self.bundle)
        reach("containerd.dispose.cgroup")
        self.bundle.remove()
        reach("containerd.dispose.bundle")

    async def _end_shim(self, *, now: bool) -> None:
        """Tell it, also when the connection breaks over that."""
        request = pb.ShutdownRequest(id=self.bundle.id, now=now)
        with contextlib.suppress(HakoError):
            while self._shim is not None and self._shim.connected:
                try:
                    await self._shim.call("Shutdown", request, Empty, SHUTDOWN_SECONDS)
                except Unavailable:
                    await self.connect()
                else:
                    return

    def close(self) -> None:
        """Hang up and leave everything to the next manager."""
        if self._shim is not None:
            self._shim.close()
        for chore in (self._again, self._lost):
            if chore is not None:
                chore.cancel()
