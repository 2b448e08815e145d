"""`logs`: what a container has printed, and what it goes on to print."""

from __future__ import annotations

from ..command import Command, Context
from ..failure import Failure
from ..flags import Values
from ..http import query
from ..session import write_all
from ..units import timestamp
from .names import path

_DESCRIPTORS = {"stdout": 1, "stderr": 2}


def _logs(context: Context, values: Values, arguments: list[str]) -> int:
    state = context.client.get(path(arguments[0], "/json"))
    response = context.client.open("GET", path(state["Id"], "/logs") + _options(values))
    if state["Config"]["Tty"]:
        for data in response.chunks():
            write_all(1, data)
        return 0
    from ...wire.stdcopy import Decoder

    decoder = Decoder()
    try:
        for data in response.chunks():
            for stream, part in decoder.feed(data):
                write_all(_DESCRIPTORS.get(stream, 1), part)
    except ValueError as err:
        raise Failure(f"the engine's stream makes no sense: {err}") from err
    return 0


def _options(values: Values) -> str:
    times = {}
    for name in ("since", "until"):
        try:
            times[name] = timestamp(values.text(name)) or None
        except ValueError as err:
            raise Failure(f'invalid value for "{name}": {err}') from err
    return query(
        stdout=True,
        stderr=True,
        follow=values.on("follow") or None,
        timestamps=values.on("timestamps") or None,
        details=values.on("details") or None,
        tail=values.text("tail", "all"),
        **times,
    )


COMMANDS = {
    "logs": Command(
        "logs [OPTIONS] CONTAINER",
        "Show what a container has printed.",
        _logs,
        flags="""
    --details       Show attributes that were logged along
-f, --follow        Go on until the container ends
    --since string  Only from this time on (2026-01-02T13:23:37Z, or 42m for 42 minutes ago)
-n, --tail string   Only this many lines from the end (all)
-t, --timestamps    Show when each line was printed
    --until string  Only up to this time
""",
        least=1,
        most=1,
    )
}
