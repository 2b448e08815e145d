"""`exec`: one more command in a running container."""

from __future__ import annotations

from contextlib import nullcontext

from ..command import Command, Context
from ..failure import ApiFailure, Failure
from ..flags import Values
from ..http import quote
from ..session import Session
from ..terminal import DEFAULT_KEYS, check_tty, parse_keys, size
from .names import path
from .target import exit_code_of, screen
from .variables import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LEFT = "read escape sequence"


def _exec(context: Context, values: Values, arguments: list[str]) -> int:
    name, *command = arguments
    detach, tty, stdin = values.on("detach"), values.on("tty"), values.on("interactive")
    if not detach:
        check_tty(stdin=stdin, tty=tty)
    parse_keys(values.text("detach-keys", DEFAULT_KEYS))
    screen_size = size() if tty else None
    body = _body(values, command)
    if screen_size:
        body["ConsoleSize"] = list(screen_size)
    made = context.client.post(path(name, "/exec"), body)
    where = f"/exec/{quote(made['Id'])}"
    start: dict[str, Any] = {"Detach": detach, "Tty": tty}
    if screen_size:
        start["ConsoleSize"] = list(screen_size)
    try:
        if detach:
            context.client.post(f"{where}/start", start)
            return 0
        return _in_front(context, where, start, values)
    except ApiFailure as err:
        raise Failure(str(err), _code(err)) from err


def _code(err: ApiFailure) -> int:
    """126 and 127 as for `run`; what the engine refuses otherwise is 1."""
    return {125: 1}.get(code := exit_code_of(err), code)


def _body(values: Values, command: list[str]) -> dict[str, Any]:
    detach = values.on("detach")
    return {
        "AttachStdin": values.on("interactive") and not detach,
        "AttachStdout": not detach,
        "AttachStderr": not detach,
        "Cmd": command,
        "Detach": detach,
        "DetachKeys": values.text("detach-keys"),
        "Env": environment(values.many("env"), values.many("env-file")),
        "Privileged": values.on("privileged"),
        "Tty": values.on("tty"),
        "User": values.text("user"),
        "WorkingDir": values.text("workdir"),
    }


def _in_front(context: Context, where: str, start: dict[str, Any], values: Values) -> int:
    tty, stdin = values.on("tty"), values.on("interactive")
    keys = parse_keys(values.text("detach-keys", DEFAULT_KEYS)) if tty else b""
    response = context.client.open("POST", f"{where}/start", body=start, upgrade=True)
    with screen(context, f"{where}/resize", typing=stdin) if tty else nullcontext() as raw:
        if raw is not None:
            raw.tell()
        left = Session(response, tty=tty, stdin=stdin, keys=keys).run()
    if left:
        raise Failure(_LEFT)
    return int(context.client.get(f"{where}/json").get("ExitCode") or 0)


COMMANDS = {
    "exec": Command(
        "exec [OPTIONS] CONTAINER COMMAND [ARG...]",
        "Run another command in a running container and end with its exit code. "
        "Flags end at the container's name.",
        _exec,
        flags="""
-d, --detach              Do not wait for it
    --detach-keys string  Keys that leave the command running (ctrl-p,ctrl-q)
-e, --env list            Set a variable (NAME=VALUE; NAME alone takes ours)
    --env-file list       Read variables from a file, one per line
-i, --interactive         Keep standard input open
    --privileged          Give the command all capabilities
-t, --tty                 Give it a terminal
-u, --user string         Run as this user (NAME|UID[:GROUP|GID])
-w, --workdir string      Start in this directory
""",
        least=2,
        most=None,
        interspersed=False,
    )
}
