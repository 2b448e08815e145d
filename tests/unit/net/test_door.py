"""The networks' own thread: order, cancelled callers, the end; and that the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from hakobune.errors import Conflict, Unavailable
from hakobune.net.door import Door
from hakobune.net.model import Attachment, Wanted

ATTACHED = Attachment("/netns")


class Room:
    """Networks that write down what is asked, and attach only when they may."""

    def __init__(self, known: tuple[str, ...] = ()) -> None:
        self.done: list[str] = []
        self.threads = {threading.get_ident()}
        self.known = set(known)
        self.begun, self.may = threading.Event(), threading.Event()
        self.may.set()

    def _note(self, words: str) -> None:
        self.threads.add(threading.get_ident())
        self.done.append(words)

    def start(self) -> None:
        self._note("start")

    def close(self, *, remove: bool) -> None:
        self._note(f"close {remove}")

    def containers(self) -> set[str]:
        return self.known

    def attach(self, container_id: str, _wanted: Wanted) -> Attachment:
        self.begun.set()
        assert self.may.wait(10)
        self._note(f"attach {container_id}")
        return ATTACHED

    def detach(self, container_id: str) -> None:
        self._note(f"detach {container_id}")


def run(room: Room, work: Callable[[Door], Coroutine[Any, Any, None]]) -> None:
    """`work` with a door that is up; closed after it."""

    async def all_of_it() -> None:
        door = Door(lambda: cast("Any", room))
        try:
            await door.start()
            await work(door)
        finally:
            await door.close(remove=True)

    before = threading.active_count()
    asyncio.run(all_of_it())
    assert threading.active_count() == before


async def begun(room: Room) -> None:
    await asyncio.to_thread(room.begun.wait, 10)


def test_one_thread_does_all_in_order() -> None:
    rooms: list[Room] = []

    def make() -> Any:
        rooms.append(Room())
        return rooms[0]

    async def work() -> None:
        door = Door(make)
        await door.start()
        attached = await asyncio.gather(*(door.attach(name, Wanted()) for name in "abc"))
        assert attached == [ATTACHED] * 3
        await door.detach("b")
        await door.close(remove=False)

    asyncio.run(work())
    assert rooms[0].done == ["start", "attach a", "attach b", "attach c", "detach b", "close False"]
    assert len(rooms[0].threads) == 1
    assert threading.get_ident() not in rooms[0].threads


def test_the_loop_goes_on_while_the_kernel_takes_its_time() -> None:
    room = Room()

    async def work(door: Door) -> None:
        room.may.clear()
        attach = asyncio.create_task(door.attach("a", Wanted()))
        await begun(room)
        await asyncio.sleep(0)  # where a loop that waits for the attach would never come back
        assert not attach.done()
        room.may.set()
        assert await attach == ATTACHED

    run(room, work)


def test_a_caller_that_is_cancelled_leaves_nothing() -> None:
    room = Room()

    async def work(door: Door) -> None:
        room.may.clear()
        attach = asyncio.create_task(door.attach("a", Wanted()))
        await begun(room)
        attach.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attach
        room.may.set()

    run(room, work)
    assert room.done == ["start", "attach a", "detach a", "close True"]


def test_a_detach_is_done_though_its_caller_is_cancelled() -> None:
    room = Room(known=("b",))

    async def work(door: Door) -> None:
        room.may.clear()
        attach = asyncio.create_task(door.attach("a", Wanted()))
        detach = asyncio.create_task(door.detach("b"))
        await begun(room)
        detach.cancel()
        with pytest.raises(asyncio.CancelledError):
            await detach
        room.may.set()
        await attach
        await door.detach("b")  # nobody knows whether it was done

    run(room, work)
    assert room.done == ["start", "attach a", "detach b", "detach b", "close True"]


def test_who_was_never_attached_costs_no_call() -> None:
    room = Room(known=("b",))

    async def work(door: Door) -> None:
        for name in "abb":
            await door.detach(name)

    run(room, work)
    assert room.done == ["start", "detach b", "close True"]


def test_what_the_room_raises_comes_out_and_the_thread_goes_on() -> None:
    room = Room()

    async def work(door: Door) -> None:
        room.attach = _refuse  # type: ignore[method-assign]
        with pytest.raises(Conflict, match="taken"):
            await door.attach("a", Wanted())
        await door.detach("a")

    run(room, work)
    assert room.done == ["start", "detach a", "close True"]


def test_a_start_that_fails_closes_the_room() -> None:
    room = Room()
    room.start = lambda: _refuse("", Wanted())  # type: ignore[assignment,method-assign]
    with pytest.raises(Conflict):
        run(room, cast("Any", None))
    assert room.done == ["close False"]


def test_a_start_that_is_cancelled_is_closed_after_it() -> None:
    room = Room()

    async def work() -> None:
        door = Door(lambda: cast("Any", room))
        start = asyncio.create_task(door.start())
        await asyncio.sleep(0)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        await door.close(remove=False)

    asyncio.run(work())
    assert room.done == ["start", "close False"]


def test_nobody_is_there_before_the_start_and_after_the_end() -> None:
    async def work() -> None:
        door = Door(lambda: cast("Any", Room()))
        with pytest.raises(Unavailable):
            door.list()
        await door.close(remove=True)

    asyncio.run(work())


def _refuse(_container_id: str, _wanted: Wanted) -> Attachment:
    raise Conflict("taken")
