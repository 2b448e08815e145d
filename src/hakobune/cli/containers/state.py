"""Verbs that change a container's state: stop kill restart pause unpause rename rm wait."""

from __future__ import annotations

from collections.abc import Callable

from ..command import Command, Context, each
from ..failure import ApiFailure, Failure
from ..flags import Values
from ..http import query, quote
from .names import path

_Verb = Callable[[Context, Values, list[str]], int]


def _simple(verb: str) -> _Verb:
    """POST /containers/NAME/verb for each name."""

    def run(context: Context, values: Values, arguments: list[str]) -> int:
        def act(name: str) -> str:
            context.client.post(path(name, f"/{verb}"))
            return name

        return each(context, arguments, act)

    return run


def _ending(verb: str) -> _Verb:
    """stop and restart: a signal, then a time until SIGKILL."""

    def run(context: Context, values: Values, arguments: list[str]) -> int:
        seconds = None
        for flag in ("timeout", "time"):
            seconds = values.whole(flag) if values.given(flag) else seconds

        def act(name: str) -> str:
            context.client.post(
                path(name, f"/{verb}") + query(t=seconds, signal=values.text("signal") or None)
            )
            return name

        return each(context, arguments, act)

    return run


def _kill(context: Context, values: Values, arguments: list[str]) -> int:
    def act(name: str) -> str:
        context.client.post(path(name, "/kill") + query(signal=values.text("signal") or None))
        return name

    return each(context, arguments, act)


def _rename(context: Context, values: Values, arguments: list[str]) -> int:
    old, new = arguments
    if not old.strip() or not new.strip():
        raise Failure("Error: Neither old nor new names may be empty")
    context.client.post(path(old, f"/rename?name={quote(new)}"))
    return 0


def _remove(context: Context, values: Values, arguments: list[str]) -> int:
    force = values.on("force")

    def act(name: str) -> str | None:
        options = query(v=values.on("volumes") or None, force=force or None, link=values.on("link") or None)
        try:
            context.client.delete(path(name.rstrip("/") if name != "/" else name) + options)
        except ApiFailure as err:
            if force and err.status == 404:
                context.warn(str(err))
                return None
            raise
        return name

    return each(context, arguments, act)


def _wait(context: Context, values: Values, arguments: list[str]) -> int:
    def act(name: str) -> str:
        answer = context.client.post(path(name, "/wait"))
        return str(answer["StatusCode"])

    return each(context, arguments, act)


_ENDING_FLAGS = """
-s, --signal string  Signal to send first (the image's, else SIGTERM)
-t, --timeout int    Seconds from that signal to SIGKILL
    --time int       The same as --timeout
"""

COMMANDS = {
    "kill": Command(
        "kill [OPTIONS] CONTAINER [CONTAINER...]",
        "Send a signal to the command of containers.",
        _kill,
        flags="-s, --signal string  Signal by name or number (SIGKILL)",
        least=1,
        most=None,
    ),
    "pause": Command(
        "pause CONTAINER [CONTAINER...]",
        "Freeze all processes of containers; they keep their memory and use no CPU.",
        _simple("pause"),
        least=1,
        most=None,
    ),
    "rename": Command(
        "rename CONTAINER NEW_NAME", "Give a container another name.", _rename, least=2, most=2
    ),
    "restart": Command(
        "restart [OPTIONS] CONTAINER [CONTAINER...]",
        "Stop containers and start them again.",
        _ending("restart"),
        flags=_ENDING_FLAGS,
        least=1,
        most=None,
    ),
    "rm": Command(
        "rm [OPTIONS] CONTAINER [CONTAINER...]",
        "Remove containers. One that runs is removed only with -f.",
        _remove,
        flags="""
-f, --force    Kill what runs; do not mind what is not there
-l, --link     Remove the link, not the container
-v, --volumes  Remove its nameless volumes too
""",
        least=1,
        most=None,
    ),
    "stop": Command(
        "stop [OPTIONS] CONTAINER [CONTAINER...]",
        "Ask the command of containers to end, and kill it when it does not in time.",
        _ending("stop"),
        flags=_ENDING_FLAGS,
        least=1,
        most=None,
    ),
    "unpause": Command(
        "unpause CONTAINER [CONTAINER...]", "Thaw paused containers.", _simple("unpause"), least=1, most=None
    ),
    "wait": Command(
        "wait CONTAINER [CONTAINER...]",
        "Wait until containers have ended and print their exit codes.",
        _wait,
        least=1,
        most=None,
    ),
}
