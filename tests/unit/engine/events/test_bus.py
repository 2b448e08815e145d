"""The bus: Docker's shape, what is remembered, what each filter lets through, listeners that come and go."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from hakobune.engine.events.bus import BACKLOG, QUEUE, Bus, Event, fits
from hakobune.engine.events.routes import routes
from hakobune.engine.http.message import Connection, Query, Request, Response
from hakobune.engine.schema.filters import Filters
from hakobune.errors import InvalidArgument

BOX = "5f" * 32


def told(kind: str, action: str, actor: str, **attributes: str) -> Event:
    bus = Bus()
    bus.publish(kind, action, actor, attributes)
    return asyncio.run(_all(bus, 1))[0]


async def _all(bus: Bus, since: int, until: int = 0, filters: Filters | None = None) -> list[Event]:
    """What is remembered."""
    end = until or time.time_ns()
    return [event async for event in bus.listen(since, end, filters or Filters())]


def test_a_container_event_has_the_old_fields_too() -> None:
    event = told("container", "start", BOX, image="alpine", name="box", colour="red")
    seconds, nano = event.pop("time"), event.pop("timeNano")
    assert nano // 10**9 == seconds
    assert event == {
        "status": "start",
        "id": BOX,
        "from": "alpine",
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": BOX, "Attributes": {"image": "alpine", "name": "box", "colour": "red"}},
        "scope": "local",
    }


def test_an_event_of_a_volume_has_them_not() -> None:
    assert not {"status", "id", "from"} & set(told("volume", "create", "data", driver="local"))


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("container", "box", True),
        ("container", "bo", True),
        ("container", BOX[:12], True),
        ("container", "other", False),
        ("image", "host:5000/team/app", True),
        ("image", "host:5000/team/app:1", True),
        ("image", "host:5000/team/app:2", False),
        ("image", "host", False),
        ("event", "exec_create", True),
        ("event", "exec_create: sh", True),
        ("event", "exec", False),
        ("type", "container", True),
        ("type", "image", False),
        ("label", "colour", True),
        ("label", "colour=red", True),
        ("label", "colour=blue", False),
        ("network", "box", False),
        ("scope", "swarm", False),
    ],
)
def test_filters(name: str, value: str, *, wanted: bool) -> None:
    event = told("container", "exec_create: sh", BOX, image="host:5000/team/app:1", name="box", colour="red")
    assert fits(event, Filters({name: (value,)})) is wanted


def test_an_image_is_found_by_its_name_and_by_its_id() -> None:
    event = told("image", "tag", "sha256:" + "ab" * 32, name="alpine:3.18")
    for value in ("alpine", "alpine:3.18", "sha256:" + "ab" * 32):
        assert fits(event, Filters({"image": (value,)}))
    assert not fits(event, Filters({"image": ("sha256",)}))


def test_a_container_is_not_the_network_that_it_joins() -> None:
    event = told("network", "connect", "ab" * 32, name="net", container=BOX)
    assert not fits(event, Filters({"container": (BOX,)}))
    assert fits(event, Filters({"network": ("net",)}))


def test_values_of_one_filter_are_alternatives_and_filters_add_up() -> None:
    event = told("container", "die", BOX, image="a", name="box")
    assert fits(event, Filters({"event": ("start", "die"), "type": ("container",)}))
    assert not fits(event, Filters({"event": ("start", "die"), "type": ("volume",)}))


def test_the_last_ones_are_remembered() -> None:
    bus = Bus()
    for number in range(BACKLOG + 10):
        bus.publish("volume", "create", f"v{number}", {})
    found = asyncio.run(_all(bus, 1))
    assert [event["Actor"]["ID"] for event in found] == [f"v{n}" for n in range(10, BACKLOG + 10)]


def test_since_and_until_cut() -> None:
    bus = Bus()
    for number in range(3):
        bus.publish("volume", "create", f"v{number}", {})
    times = [event["timeNano"] for event in asyncio.run(_all(bus, 1))]
    assert [event["timeNano"] for event in asyncio.run(_all(bus, times[1]))] == times[1:]
    assert [event["timeNano"] for event in asyncio.run(_all(bus, 0, times[1]))] == times[:2]


def test_a_listener_gets_what_comes_and_goes_away() -> None:
    async def story() -> None:
        bus = Bus()
        bus.publish("volume", "create", "before", {})
        events = bus.listen(0, 0, Filters({"type": ("volume",)}))
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        assert bus.listeners == 1
        bus.publish("image", "tag", "x", {})
        bus.publish("volume", "create", "after", {})
        assert (await first)["Actor"]["ID"] == "after"
        await events.aclose()
        assert bus.listeners == 0

    asyncio.run(story())


def test_a_listener_that_sleeps_loses_the_oldest() -> None:
    async def story() -> None:
        bus = Bus()
        events = bus.listen(0, 0, Filters())
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        for number in range(QUEUE + 5):
            bus.publish("volume", "create", f"v{number}", {})
        assert (await first)["Actor"]["ID"] == "v5"
        await events.aclose()

    asyncio.run(story())


async def _ask(bus: Bus, query: str) -> Response:
    request = Request("GET", "/events", Query(query), {}, (1, 51), cast("Connection", None))
    answer = await routes(bus)[0].handler(request)
    assert isinstance(answer, Response)
    return answer


def test_the_route_sends_lines_until_the_end_and_stops_listening() -> None:
    async def story() -> list[Any]:
        bus = Bus()
        bus.publish("container", "start", BOX, {"name": "箱"})
        answer = await _ask(bus, f"since=1&until={time.time() + 0.05:.9f}")
        lines = cast("AsyncIterator[bytes]", answer.body)
        found = [json.loads(line) async for line in lines]
        assert bus.listeners == 0
        return found

    assert [event["Actor"]["Attributes"]["name"] for event in asyncio.run(story())] == ["箱"]


@pytest.mark.parametrize("query", ["since=20&until=10", 'filters={"colour":["red"]}', "since=yesterday"])
def test_the_route_refuses(query: str) -> None:
    with pytest.raises(InvalidArgument):
        asyncio.run(_ask(Bus(), query))
