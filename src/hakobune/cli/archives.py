"""`save` and `load`: images as one archive, in a file or a pipe."""

from __future__ import annotations

import os
import sys

from .command import Command, Context
from .failure import Failure
from .flags import Values
from .http import query, quote

_BLOCK = 1 << 20


def _save(context: Context, values: Values, arguments: list[str]) -> int:
    target = values.text("output")
    if not target and sys.stdout.isatty():
        raise Failure("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    names = "&".join(f"names={quote(name)}" for name in arguments)
    response = context.client.open("GET", f"/images/get?{names}")
    if not target:
        for chunk in response.chunks():
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return 0
    try:
        with open(f"{target}.new", "wb") as file:  # a file that stands there under the name is whole
            for chunk in response.chunks():
                file.write(chunk)
        os.rename(f"{target}.new", target)
    except OSError as err:
        raise Failure(f"save to {target}: {(err.strerror or str(err)).lower()}") from err
    return 0


def _load(context: Context, values: Values, _arguments: list[str]) -> int:
    source = values.text("input")
    if not source and sys.stdin.isatty():
        raise Failure("requested load from stdin, but stdin is empty")
    try:
        file = open(source, "rb") if source else sys.stdin.buffer
    except OSError as err:
        raise Failure(f"open {source}: {(err.strerror or str(err)).lower()}") from err
    with file:
        response = context.client.open(
            "POST", "/images/load" + query(quiet="1"), stream=iter(lambda: file.read(_BLOCK), b""),
            headers={"Content-Type": "application/x-tar"},
        )  # fmt: skip
        for event in response.lines():
            if event.get("error"):
                raise Failure(f"Error response from daemon: {event['error']}")
            if event.get("stream") and not values.on("quiet"):
                context.say(event["stream"].rstrip("\n"))
    return 0


COMMANDS = {
    "save": Command(
        "save [OPTIONS] IMAGE [IMAGE...]",
        "Write images to an archive (to standard output, as tar): an OCI layout that docker reads, too.",
        _save,
        flags="-o, --output string  Write to a file\n",
        least=1,
        most=None,
    ),
    "load": Command(
        "load [OPTIONS]",
        "Take images out of an archive of `save`, docker or an OCI layout, plain or compressed (from standard input).",
        _load,
        flags="-i, --input string  Read from a file\n-q, --quiet         Say nothing\n",
    ),
}
