"""GET /events."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

from hakobune.engine.containers.logs import moment
from hakobune.engine.events.bus import FILTERS, Bus
from hakobune.engine.http.message import JSON_HEADERS, Request, Response
from hakobune.engine.http.router import Route
from hakobune.engine.schema.filters import Filters
from hakobune.errors import InvalidArgument


def routes(bus: Bus) -> list[Route]:
    """The table."""

    async def events(request: Request) -> Response:
        since, until = moment(request.query.get("since")), moment(request.query.get("until"))
        if until and until < since:
            raise InvalidArgument(f"`since` time ({since}) cannot be after `until` time ({until})")
        filters = request.query.filters()
        filters.check(FILTERS)
        return Response(200, _lines(bus, since, until, filters), JSON_HEADERS)

    return [Route("GET", "/events", events)]


async def _lines(bus: Bus, since: int, until: int, filters: Filters) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(bus.listen(since, until, filters)) as events:
        async for event in events:
            text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
            yield text.encode("utf-8", "surrogateescape") + b"\n"
