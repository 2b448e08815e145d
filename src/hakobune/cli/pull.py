"""`pull`, and what `run` does when an image is not there."""

from __future__ import annotations

from collections.abc import Callable

from .command import Command, Context
from .failure import Failure
from .flags import Values
from .http import query


def split_reference(text: str) -> tuple[str, str]:
    """(name, tag or digest); the tag is `latest` when none is given."""
    name, at, digest = text.partition("@")
    if at:
        return name, digest
    head, colon, tag = text.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (text, "latest")


def pull(context: Context, reference: str, *, platform: str = "", say: Callable[..., None]) -> None:
    """Fetch; progress goes through `say`. Raises Failure with the engine's words."""
    name, tag = split_reference(reference)
    where = "/images/create" + query(fromImage=name, tag=tag, platform=platform or None)
    for event in context.client.open("POST", where).lines():
        if event.get("error"):
            raise Failure(f"Error response from daemon: {event['error']}")
        if event.get("status") and not event.get("progressDetail"):
            say(f"{event['id']}: {event['status']}" if event.get("id") else event["status"])


def _pull(context: Context, values: Values, arguments: list[str]) -> int:
    quiet = values.on("quiet")
    say = (lambda *_: None) if quiet else context.say
    name, tag = split_reference(arguments[0])
    if tag == "latest" and not arguments[0].endswith(":latest"):
        say("Using default tag: latest")
    pull(context, arguments[0], platform=values.text("platform"), say=say)
    if quiet:
        context.say(f"{name}:{tag}")
    return 0


COMMANDS = {
    "pull": Command(
        "pull [OPTIONS] NAME[:TAG|@DIGEST]",
        "Fetch an image from where it is kept.",
        _pull,
        flags="""
-a, --all-tags               Fetch every tag
    --disable-content-trust  Accepted, does nothing
    --platform string        Platform of the image (linux/amd64)
-q, --quiet                  Print the name only
""",
        least=1,
        most=1,
    )
}
