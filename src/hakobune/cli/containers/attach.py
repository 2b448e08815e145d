"""`attach` and `start`: connecting to a container that exists already."""

from __future__ import annotations

from contextlib import nullcontext

from ..command import Command, Context, each
from ..failure import Failure
from ..flags import Values
from ..http import query
from ..session import Session
from ..terminal import DEFAULT_KEYS, check_tty, parse_keys
from .names import path
from .target import Waiter, attach, pass_signals_on, screen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LEFT = "read escape sequence"


def _attach(context: Context, values: Values, arguments: list[str]) -> int:
    name = arguments[0]
    state = context.client.get(path(name, "/json"))
    for wrong in ("Paused", "Restarting"):
        if state["State"].get(wrong):
            raise Failure(f"cannot attach to a {wrong.lower()} container, {_way_out(wrong)}")
    if not state["State"]["Running"]:
        raise Failure("cannot attach to a stopped container, start it first")
    stdin = not values.on("no-stdin") and bool(state["Config"]["OpenStdin"])
    check_tty(stdin=stdin, tty=state["Config"]["Tty"])
    waiter = Waiter(context, name, "not-running")
    if _pump(context, state, values, stdin=stdin):
        raise Failure(_LEFT)
    return waiter.code()


def _way_out(wrong: str) -> str:
    return "unpause it first" if wrong == "Paused" else "wait until it is running"


def _pump(context: Context, state: Any, values: Values, *, stdin: bool, start: bool = False) -> bool:
    """Connect, start if asked, pump; True when left by the detach keys."""
    identity, tty = state["Id"], state["Config"]["Tty"]
    streams = {"stdout", "stderr"} | ({"stdin"} if stdin else set())
    keys = parse_keys(values.text("detach-keys", DEFAULT_KEYS)) if tty else b""
    if values.on("sig-proxy", True) and not tty:
        pass_signals_on(context, identity)
    response = attach(context, identity, streams, keys=values.text("detach-keys"))
    if start:
        context.client.post(path(identity, "/start"))
    with screen(context, path(identity, "/resize"), typing=stdin) if tty else nullcontext() as raw:
        if raw is not None:
            raw.tell()
        return Session(response, tty=tty, stdin=stdin, keys=keys).run()


def _start(context: Context, values: Values, arguments: list[str]) -> int:
    if not values.on("attach") and not values.on("interactive"):
        keys = values.text("detach-keys")

        def start(name: str) -> str:
            context.client.post(path(name, "/start") + query(detachKeys=keys or None))
            return name

        return each(context, arguments, start, failed="start")
    if len(arguments) > 1:
        raise Failure("you cannot start and attach multiple containers at once")
    return _start_in_front(context, values, arguments[0])


def _start_in_front(context: Context, values: Values, name: str) -> int:
    state = context.client.get(path(name, "/json"))
    stdin = values.on("interactive") and bool(state["Config"]["OpenStdin"])
    check_tty(stdin=stdin, tty=state["Config"]["Tty"])
    condition = "removed" if state["HostConfig"].get("AutoRemove") else "next-exit"
    if state["State"]["Running"]:
        condition = "not-running"
    waiter = Waiter(context, state["Id"], condition)
    return 0 if _pump(context, state, values, stdin=stdin, start=True) else waiter.code()


COMMANDS = {
    "attach": Command(
        "attach [OPTIONS] CONTAINER",
        "Connect this terminal to the command of a running container; ctrl-p ctrl-q leaves it running "
        "when it has a terminal of its own.",
        _attach,
        flags="""
    --detach-keys string  Keys that leave the container running (ctrl-p,ctrl-q)
    --no-stdin            Do not connect standard input
    --sig-proxy           Pass signals on to the command (on unless =false)
""",
        least=1,
        most=1,
    ),
    "start": Command(
        "start [OPTIONS] CONTAINER [CONTAINER...]",
        "Start containers that were created or have stopped.",
        _start,
        flags="""
-a, --attach              Connect to the output and end as the command ends
    --detach-keys string  Keys that leave the container running (ctrl-p,ctrl-q)
-i, --interactive         Connect standard input
    --sig-proxy           Pass signals on to the command (on unless =false)
""",
        least=1,
        most=None,
    ),
}
