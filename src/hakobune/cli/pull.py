"""`pull`, and what `run` does when an image is not there; `push`."""

from __future__ import annotations

from collections.abc import Callable

from . import credentials, moving
from .command import Command, Context
from .failure import Failure
from .flags import Values
from .http import query, quote
from .names import split_reference, whole_name


def pull(
    context: Context, reference: str, *, platform: str = "", say: Callable[..., None], every: bool = False
) -> None:
    """Fetch; progress goes through `say`. Raises Failure with the engine's words."""
    name, tag = split_reference(reference)
    where = "/images/create" + query(fromImage=name, tag=None if every else tag, platform=platform or None)
    response = context.client.open("POST", where, headers=credentials.header(name))
    moving.show(response.lines(), say, live=say == context.say)


def _pull(context: Context, values: Values, arguments: list[str]) -> int:
    quiet, every = values.on("quiet"), values.on("all-tags")
    say = (lambda *_: None) if quiet else context.say
    name, tag = split_reference(arguments[0])
    if every and name != arguments[0]:
        raise Failure("hako: tag can't be used with --all-tags/-a")
    if not every and tag == "latest" and not arguments[0].endswith(":latest"):
        say("Using default tag: latest")
    pull(context, arguments[0], platform=values.text("platform"), say=say, every=every)
    whole = whole_name(name)
    context.say(whole if every else f"{whole}{'@' if ':' in tag else ':'}{tag}")
    return 0


def _push(context: Context, values: Values, arguments: list[str]) -> int:
    quiet, every = values.on("quiet"), values.on("all-tags")
    name, tag = split_reference(arguments[0])
    if "@" in arguments[0]:
        raise Failure("hako: cannot push a digest reference")
    if every and name != arguments[0]:
        raise Failure("hako: tag can't be used with --all-tags/-a")
    say = (lambda *_: None) if quiet else context.say
    if not every and name == arguments[0]:
        say("Using default tag: latest")
    where = f"/images/{quote(name)}/push" + query(tag=None if every else tag)
    who = credentials.header(name) or {"X-Registry-Auth": "e30="}  # an engine of docker wants one: {}
    moving.show(context.client.open("POST", where, headers=who).lines(), say, live=not quiet)
    if quiet:
        context.say(name if every else f"{name}:{tag}")
    return 0


COMMANDS = {
    "pull": Command(
        "pull [OPTIONS] NAME[:TAG|@DIGEST]",
        "Fetch an image from its registry.",
        _pull,
        flags="""
-a, --all-tags               Fetch every tag
    --disable-content-trust  Accepted, does nothing
    --platform string        Platform of the image (linux/amd64)
-q, --quiet                  Print the name only
""",
        least=1,
        most=1,
    ),
    "push": Command(
        "push [OPTIONS] NAME[:TAG]",
        "Send an image to its registry.",
        _push,
        flags="""
-a, --all-tags               Send every tag
    --disable-content-trust  Accepted, does nothing
-q, --quiet                  Print the name only
""",
        least=1,
        most=1,
    ),
}
