"""The networks in a thread of their own: whoever runs an event loop asks here and is never held up.

Every change of a device takes the kernel's RTNL mutex, and the end of a namespace keeps it for milliseconds: an
attach then waits, and so would every client of the loop that calls it. So one thread makes `Networks`, with its
database and sockets, and does in order what is asked; the loop waits for answers. What was asked is done, also
when nobody waits any more. Imports: asyncio, queue, threading, the room's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Collection
from typing import Any, Protocol, TypeVar

from hakobune.errors import Unavailable
from hakobune.net.model import Attachment, CreateNetwork, Endpoint, EndpointState, Network, Wanted

T = TypeVar("T")
Listing = list[Network]  # `list` means the method within a class


class Room(Protocol):
    """What is in the thread; see `net.networks`. `list` and `get` may be called in any thread."""

    def start(self) -> None: ...
    def close(self, *, remove: bool) -> None: ...
    def list(self) -> Listing: ...
    def get(self, reference: str) -> Network: ...
    def create(self, request: CreateNetwork) -> Network: ...
    def remove(self, reference: str) -> None: ...
    def endpoints(self, reference: str) -> dict[str, EndpointState]: ...
    def containers(self) -> set[str]: ...
    def attach(self, container_id: str, wanted: Wanted) -> Attachment: ...
    def adopt(self, container_id: str, init_pid: int) -> Attachment: ...
    def detach(self, container_id: str) -> None: ...
    def keep(self, containers: Collection[str]) -> None: ...
    def attachment(self, container_id: str) -> Attachment | None: ...
    def connect(self, container_id: str, reference: str, endpoint: Endpoint) -> EndpointState | None: ...
    def disconnect(self, container_id: str, reference: str) -> None: ...


class Door:
    """Life cycle: made, `start`, asked from one loop, `close` (in any case). Raises what the room raises."""

    def __init__(self, make: Callable[[], Room]) -> None:
        """`make` is called in the thread, which alone uses what it returns."""
        self._make = make
        self._room: Room | None = None
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="net")
        # Containers that may have a place. One that is in here without having any costs a call, no more.
        self._attached: set[str] = set()

    async def start(self) -> None:
        """Make the room and start it. What fails leaves no room behind."""
        self._thread.start()
        self._attached |= await self._ask(self._open)

    async def close(self, *, remove: bool) -> None:
        """After all that was asked: close the room and end the thread; without a room, only that."""
        if not self._thread.is_alive():
            return
        try:
            await self._ask(lambda: self._close(remove=remove))
        finally:
            self._calls.put(None)
            self._thread.join()

    # --- networks ---

    def list(self) -> Listing:
        """As they stand now; does not wait for what was asked before."""
        return self._here.list()

    def get(self, reference: str) -> Network:
        """As it stands now; does not wait for what was asked before."""
        return self._here.get(reference)

    async def create(self, request: CreateNetwork) -> Network:
        """See `Networks.create`."""
        return await self._ask(lambda: self._here.create(request))

    async def remove(self, reference: str) -> None:
        """See `Networks.remove`."""
        await self._ask(lambda: self._here.remove(reference))

    async def endpoints(self, reference: str) -> dict[str, EndpointState]:
        """See `Networks.endpoints`."""
        return await self._ask(lambda: self._here.endpoints(reference))

    # --- containers ---

    async def attach(self, container_id: str, wanted: Wanted) -> Attachment:
        """See `Networks.attach`. When the caller is cancelled nothing is left either."""
        self._attached.add(container_id)
        try:
            return await self._ask(lambda: self._here.attach(container_id, wanted))
        except asyncio.CancelledError:
            self._begin(lambda: self._here.detach(container_id))
            raise

    async def adopt(self, container_id: str, init_pid: int) -> Attachment:
        """See `Networks.adopt`."""
        return await self._ask(lambda: self._here.adopt(container_id, init_pid))

    async def detach(self, container_id: str) -> None:
        """See `Networks.detach`. It is done also when the caller is cancelled."""
        if container_id not in self._attached:
            return
        await self._ask(lambda: self._here.detach(container_id))
        self._attached.discard(container_id)

    async def keep(self, containers: Collection[str]) -> None:
        """See `Networks.keep`."""
        await self._ask(lambda: self._here.keep(containers))

    async def attachment(self, container_id: str) -> Attachment | None:
        """See `Networks.attachment`."""
        return await self._ask(lambda: self._here.attachment(container_id))

    async def connect(self, container_id: str, reference: str, endpoint: Endpoint) -> EndpointState | None:
        """See `Networks.connect`."""
        return await self._ask(lambda: self._here.connect(container_id, reference, endpoint))

    async def disconnect(self, container_id: str, reference: str) -> None:
        """See `Networks.disconnect`."""
        await self._ask(lambda: self._here.disconnect(container_id, reference))

    # --- in the loop ---

    @property
    def _here(self) -> Room:
        if self._room is None:
            raise Unavailable("the networks are not up")
        return self._room

    async def _ask(self, work: Callable[[], T]) -> T:
        return await self._begin(work)

    def _begin(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Have it done after everything before; a future that is cancelled changes nothing about that."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            found, failure = None, None
            try:
                found = work()
            except BaseException as err:
                failure = err
            with contextlib.suppress(RuntimeError):  # the loop has ended, and whoever asked with it
                loop.call_soon_threadsafe(_settle, answer, found, failure)
            del failure  # it holds this frame

        self._calls.put(call)
        return answer

    # --- in the thread ---

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # and all that it holds, before a long wait for the next

    def _open(self) -> set[str]:
        room = self._make()
        try:
            room.start()
        except BaseException:
            room.close(remove=False)
            raise
        self._room = room
        return room.containers()

    def _close(self, *, remove: bool) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.close(remove=remove)


def _settle(answer: asyncio.Future[Any], found: object, failure: BaseException | None) -> None:
    if answer.done():
        return  # cancelled
    if failure is None:
        answer.set_result(found)
    else:
        answer.set_exception(failure)
