"""`save`, `load` and `import`: images and file systems as archives, in a file or a pipe."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

from . import moving
from .command import Command, Context
from .failure import Failure
from .flags import Values
from .http import Response, query, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_BLOCK = 1 << 20


def _opened(source: str) -> BinaryIO:
    """A file for reading; `-` is standard input. Raises Failure."""
    if source == "-":
        return sys.stdin.buffer
    try:
        return open(source, "rb")
    except OSError as err:
        raise Failure(f"open {source}: {(err.strerror or str(err)).lower()}") from err


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """What it has, in pieces."""
    while data := file.read(_BLOCK):
        yield data


def _platforms(values: Values) -> str:
    """`--platform`, several or with commas between, as the API takes it: `&platform=…` of each."""
    given = [text for each in values.many("platform") for text in each.split(",") if text]
    return "".join(f"&platform={quote(_platform(text))}" for text in given)


def _platform(text: str) -> str:
    words = [*text.split("/"), "", ""]
    return json.dumps(
        {"os": words[0], "architecture": words[1], **({"variant": words[2]} if words[2] else {})}
    )


def _save(context: Context, values: Values, arguments: list[str]) -> int:
    target = target_of(values, "save")
    where = "/images/get?" + "&".join(f"names={quote(name)}" for name in arguments)
    where += _platforms(values)
    keep(context.client.open("GET", where), target, "save")
    return 0


def target_of(values: Values, verb: str) -> str:
    """The file of `--output`; "" for standard output. Raises Failure."""
    target = values.text("output")
    if not target and sys.stdout.isatty():
        raise Failure(f"cowardly refusing to {verb} to a terminal. Use the -o flag or redirect")
    if target and os.path.exists(target) and not os.path.isfile(target):
        raise Failure(f"invalid output path: {target} is no regular file")
    return target


def keep(response: Response, target: str, verb: str) -> None:
    """To standard output, or into a file: what stands there under its name is whole. Raises Failure."""
    if target:
        _keep(response, target, verb)
        return
    for chunk in response.chunks():
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _keep(response: Response, target: str, verb: str) -> None:
    try:
        with open(f"{target}.new", "wb") as file:
            for chunk in response.chunks():
                file.write(chunk)
        os.rename(f"{target}.new", target)
    except OSError as err:
        raise Failure(f"{verb} to {target}: {(err.strerror or str(err)).lower()}") from err
    finally:
        if os.path.exists(f"{target}.new"):
            os.unlink(f"{target}.new")


def _load(context: Context, values: Values, _arguments: list[str]) -> int:
    source = values.text("input")
    if not source and sys.stdin.isatty():
        raise Failure("requested load from stdin, but stdin is empty")
    with _opened(source or "-") as file:
        response = context.client.open(
            "POST", "/images/load" + query(quiet="1") + _platforms(values), stream=_blocks(file),
            headers={"Content-Type": "application/x-tar"},
        )  # fmt: skip
        for event in response.lines():
            if event.get("error"):
                raise Failure(f"Error response from daemon: {event['error']}")
            if event.get("stream") and not values.on("quiet"):
                context.say(event["stream"].rstrip("\n"))
    return 0


def _import(context: Context, values: Values, arguments: list[str]) -> int:
    source, *names = arguments
    options = query(
        fromSrc=source if "://" in source else "-",
        repo=names[0] if names else None,
        message=values.text("message") or None,
        platform=values.text("platform") or None,
    )
    options += "".join(f"&changes={quote(text)}" for text in values.many("change"))
    if "://" in source:
        response = context.client.open("POST", f"/images/create{options}")
    else:
        with _opened(source) as file:
            headers = {"Content-Type": "application/x-tar"}
            response = context.client.open(
                "POST", f"/images/create{options}", stream=_blocks(file), headers=headers
            )
    moving.show(response.lines(), context.say, live=True)
    return 0


_PLATFORM = "    --platform list    Of an image for several, those for these (linux/amd64,linux/arm64)\n"

COMMANDS = {
    "import": Command(
        "import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
        "Make an image of a root file system in a tar archive (plain, gzip, bzip2, xz or zstd).",
        _import,
        flags="""
-c, --change list      Apply an instruction of a Dockerfile (CMD ["sh"], ENV A=b, USER u, …)
-m, --message string   Note where it comes from
    --platform string  Platform of the image (linux/amd64)
""",
        least=1,
        most=2,
    ),
    "save": Command(
        "save [OPTIONS] IMAGE [IMAGE...]",
        "Write images to an archive (to standard output, as tar): an OCI layout that docker reads, too.",
        _save,
        flags="-o, --output string    Write to a file\n" + _PLATFORM,
        least=1,
        most=None,
    ),
    "load": Command(
        "load [OPTIONS]",
        "Take images out of an archive of `save`, docker or an OCI layout, plain or compressed (from standard input).",
        _load,
        flags="-i, --input string     Read from a file\n"
        + _PLATFORM
        + "-q, --quiet            Say nothing\n",
    ),
}
