"""The bus: events in Docker's shape, the last ones remembered, each listener with a queue of its own.

A listener that does not read loses the oldest events, never the engine its time. Imports: asyncio, schema.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from hakobune.engine.schema.filters import Filters

BACKLOG = 256
QUEUE = 4096

Event = dict[str, Any]

# filter name -> the kind of actor whose id or name it names
_ACTORS = (
    "container",
    "image",
    "volume",
    "network",
    "daemon",
    "plugin",
    "service",
    "node",
    "secret",
    "config",
)
FILTERS = (*_ACTORS, "event", "type", "label", "scope")


class Bus:
    """Belongs to the loop's thread."""

    def __init__(self) -> None:
        self._past: deque[Event] = deque(maxlen=BACKLOG)
        self._listeners: set[asyncio.Queue[Event]] = set()

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return len(self._listeners)

    def publish(self, kind: str, action: str, actor: str, attributes: Mapping[str, str]) -> None:
        """Tell that `action` happened to the `kind` named `actor`."""
        at = time.time_ns()
        event: Event = {}
        if kind == "container":
            event = {"status": action, "id": actor, "from": attributes.get("image", "")}
        elif kind == "image":
            event = {"status": action, "id": actor}
        event |= {
            "Type": kind,
            "Action": action,
            "Actor": {"ID": actor, "Attributes": dict(attributes)},
            "scope": "local",
            "time": at // 1_000_000_000,
            "timeNano": at,
        }
        self._past.append(event)
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    async def listen(self, since: int, until: int, filters: Filters) -> AsyncGenerator[Event, None]:
        """Events from `since` on, live until `until` (0: for ever), both in nanoseconds since the epoch.

        Without `since` those from now on; with `until` alone, all that are remembered come first.
        """
        queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE)
        past = [event for event in self._past if (since or until) and event["timeNano"] >= since]
        self._listeners.add(queue)
        try:
            for event in past:
                if (not until or event["timeNano"] <= until) and fits(event, filters):
                    yield event
            while (fresh := await _next(queue, until)) is not None:
                if fits(fresh, filters):
                    yield fresh
        finally:
            self._listeners.discard(queue)


async def _next(queue: asyncio.Queue[Event], until: int) -> Event | None:
    """The next event, None when the time is over."""
    if not until:
        return await queue.get()
    left = (until - time.time_ns()) / 1e9
    if left <= 0:
        return None
    try:
        return await asyncio.wait_for(queue.get(), left)
    except TimeoutError:
        return None


def fits(event: Event, filters: Filters) -> bool:
    """Whether a listener with these filters wants it."""
    if not filters.any_of("type", [event["Type"]]) or not filters.any_of("scope", [event["scope"]]):
        return False
    if "event" in filters and not any(_is(event["Action"], wanted) for wanted in filters.get("event")):
        return False
    if not filters.labels(event["Actor"]["Attributes"]):
        return False
    for kind in _ACTORS:
        wanted = filters.get(kind)
        if wanted and not any(_names(event, kind, value) for value in wanted):
            return False
    return True


def _is(action: str, wanted: str) -> bool:
    return action == wanted or action.partition(":")[0] == wanted


def _names(event: Event, kind: str, value: str) -> bool:
    """Whether `value` names the actor: by the beginning of its id or name, images by name with or without tag."""
    actor: str = event["Actor"]["ID"]
    attributes: Mapping[str, str] = event["Actor"]["Attributes"]
    if kind == "image":
        name = attributes.get("name" if event["Type"] == kind else "image", "")
        return value in (actor, name, _without_tag(actor), _without_tag(name))
    return event["Type"] == kind and (actor.startswith(value) or attributes.get("name", "").startswith(value))


def _without_tag(name: str) -> str:
    """`host:5000/app:1` -> `host:5000/app`; ids stay as they are."""
    if name.startswith("sha256:"):
        return name
    head, slash, last = name.partition("@")[0].rpartition("/")
    return head + slash + last.partition(":")[0]
