"""`run`: create, connect, ask for the exit, start, pump, and end as the command ended."""

from __future__ import annotations

from contextlib import nullcontext

from ..command import Command, Context
from ..failure import ApiFailure, Failure
from ..flags import BadFlags, Values
from ..session import Session
from ..terminal import DEFAULT_KEYS, check_tty, parse_keys
from .body import attached
from .create import make
from .names import path
from .options import CREATE_FLAGS, RUN_FLAGS
from .target import Waiter, attach, exit_code_of, pass_signals_on, screen

_REFUSED = 125
_REMOVAL_SECONDS = 5.0


def _run(context: Context, values: Values, arguments: list[str]) -> int:
    detach, tty = values.on("detach"), values.on("tty")
    if detach and values.given("attach"):
        raise Failure("conflicting options: cannot specify both --attach and --detach", _REFUSED)
    streams = attached(values, detach=detach)
    check_tty(stdin="stdin" in streams, tty=tty)
    parse_keys(values.text("detach-keys", DEFAULT_KEYS))
    try:
        identity = make(context, values, arguments, detach=detach)
    except BadFlags:
        raise
    except Failure as err:
        raise _refused(err, _REFUSED) from err
    try:
        if not detach:
            return _in_front(context, values, identity, streams)
        context.client.post(path(identity, "/start"))
    except ApiFailure as err:
        raise _refused(err, exit_code_of(err)) from err
    context.say(identity)
    return 0


def _refused(err: Failure, code: int) -> Failure:
    """The engine's sentence, and where help is."""
    return Failure(f"hako: {err}\n\nRun 'hako run --help' for more information", code)


def _in_front(context: Context, values: Values, identity: str, streams: set[str]) -> int:
    tty, keys = values.on("tty"), values.text("detach-keys")
    if values.on("sig-proxy", True) and not tty:
        pass_signals_on(context, identity)
    response = attach(context, identity, streams, keys=keys)
    waiter = Waiter(context, identity, "removed" if values.on("rm") else "next-exit")
    try:
        context.client.post(path(identity, "/start"))
    except ApiFailure:
        response.sock.close()
        if values.on("rm"):
            waiter.settle(_REMOVAL_SECONDS)
        raise
    if "stdin" not in streams and not tty:
        Session(response, tty=tty, stdin=False).run()
        return waiter.code()
    wanted = parse_keys(keys or DEFAULT_KEYS) if tty else b""
    terminal = screen(context, path(identity, "/resize"), typing="stdin" in streams) if tty else nullcontext()
    with terminal as raw:
        if raw is not None:
            raw.tell()
        left = Session(response, tty=tty, stdin="stdin" in streams, keys=wanted).run()
    return 0 if left else waiter.code()


COMMANDS = {
    "run": Command(
        "run [OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Make a container of an image, run a command in it, and end with the command's exit code. "
        "Flags end at the image's name: what follows it belongs to the container.\n\n"
        "Exit codes: the command's own; 128+N when signal N ended it; 127 when the command is not found, "
        "126 when it cannot be executed, 125 when the engine refused.",
        _run,
        flags=CREATE_FLAGS.rstrip() + RUN_FLAGS,
        least=1,
        most=None,
        interspersed=False,
    )
}
