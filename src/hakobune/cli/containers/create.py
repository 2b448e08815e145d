"""`create`, and the part of `run` that makes the container."""

from __future__ import annotations

import os

from ..command import Command, Context
from ..failure import ApiFailure, Failure
from ..flags import Values
from ..http import query
from ..terminal import size
from .body import create_body
from .options import CREATE_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PULLS = ("always", "missing", "never", "")
_NOT_HERE = ("no such image", "does not match the specified platform", "no matching manifest")


def make(context: Context, values: Values, arguments: list[str], *, detach: bool = False) -> str:
    """Create the container of a command line; returns its id. Fetches the image when it is not there.

    Raises Failure.
    """
    image, *command = arguments
    policy = values.text("pull", "missing")
    if policy not in _PULLS:
        raise Failure(
            f'invalid pull option: \'{policy}\': must be one of "always", "missing" or "never"', 125
        )
    cidfile = values.text("cidfile")
    if cidfile and os.path.exists(cidfile):
        raise Failure(
            f'container ID file found, make sure the other container isn\'t running or delete "{cidfile}"',
            125,
        )
    body = create_body(values, image, command, detach=detach)
    screen = size() if values.on("tty") else None
    if screen:
        body["HostConfig"]["ConsoleSize"] = list(screen)
    if policy == "always":
        _pull(context, image, values)
    where = "/containers/create" + query(
        name=values.text("name") or None, platform=values.text("platform") or None
    )
    made = _post(context, where, body, image, values, fetch=policy == "missing")
    context.warn(*[f"WARNING: {text}" for text in made.get("Warnings") or []])
    if cidfile:
        _write(cidfile, made["Id"])
    return str(made["Id"])


def _post(context: Context, where: str, body: Any, image: str, values: Values, *, fetch: bool) -> Any:
    try:
        return context.client.post(where, body)
    except ApiFailure as err:
        if not fetch or err.status != 404 or not any(words in err.reason.lower() for words in _NOT_HERE):
            raise
    if not values.on("quiet"):
        tagged = image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"
        context.warn(f"Unable to find image '{tagged}' locally")
    _pull(context, image, values)
    return context.client.post(where, body)


def _pull(context: Context, image: str, values: Values) -> None:
    from ..pull import pull

    say = (lambda *_: None) if values.on("quiet") else context.warn
    pull(context, image, platform=values.text("platform"), say=say)


def _write(cidfile: str, identity: str) -> None:
    try:
        with open(cidfile, "x", encoding="ascii") as file:
            file.write(identity)
    except OSError as err:
        raise Failure(f"failed to create the container ID file: {err.strerror}", 125) from err


def _create(context: Context, values: Values, arguments: list[str]) -> int:
    context.say(make(context, values, arguments))
    return 0


COMMANDS = {
    "create": Command(
        "create [OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Make a container of an image and print its id; `hako start` runs it. "
        "Flags end at the image's name: what follows it belongs to the container.",
        _create,
        flags=CREATE_FLAGS,
        least=1,
        most=None,
        interspersed=False,
    )
}
