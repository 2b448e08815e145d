"""`events`: what happens, as it happens."""

from __future__ import annotations

import sys

from .command import Command, Context
from .failure import Failure
from .filters import filters
from .flags import Values
from .http import query
from .template import Template
from .template_functions import to_json
from .units import local_time, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _events(context: Context, values: Values, arguments: list[str]) -> int:
    form = values.text("format")
    template = Template(form, strict=True) if form and form != "json" else None
    times = {}
    for name in ("since", "until"):
        try:
            times[name] = timestamp(values.text(name)) or None
        except ValueError as err:
            raise Failure(str(err)) from err
    where = "/events" + query(filters=filters(values.many("filter")), **times)
    for event in context.client.open("GET", where).lines():
        if template:
            context.say(template.render(event))
        else:
            context.say(to_json(event) if form else line(event))
        sys.stdout.flush()
    return 0


def line(event: Any) -> str:
    """`TIME TYPE ACTION ID (key=value, …)`."""
    moment = event.get("timeNano") or event.get("time", 0) * 10**9
    actor = event.get("Actor") or {}
    attributes = sorted((actor.get("Attributes") or {}).items())
    text = f"{local_time(moment)} {event['Type']} {event['Action']} {actor.get('ID', '')}"
    if not attributes:
        return text
    return f"{text} ({', '.join(f'{key}={value}' for key, value in attributes)})"


COMMANDS = {
    "events": Command(
        "events [OPTIONS]",
        "Print what happens to containers, images, networks and volumes, as it happens. "
        "With --until, end at that time.",
        _events,
        flags="""
-f, --filter filter  Only those that match (type=container, event=die, container=x, …)
    --format string  json, or a template ({{.Action}})
    --since string   Also what has happened since this time (10m for 10 minutes ago)
    --until string   Only up to this time
""",
    )
}
