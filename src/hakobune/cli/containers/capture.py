"""`commit`, `export` and `diff`: a container's files as an image, as an archive, and as what has changed."""

from __future__ import annotations

from ..archives import keep, target_of
from ..command import Command, Context
from ..failure import Failure
from ..flags import Values
from ..http import query, quote
from .names import path

_KINDS = "CAD"  # changed, added, deleted: the API's numbers


def _commit(context: Context, values: Values, arguments: list[str]) -> int:
    container, *names = arguments
    repository, tag = names[0] if names else "", ""
    if ":" in repository.rpartition("/")[2]:
        repository, _, tag = repository.rpartition(":")
    if not container.strip("/ "):
        raise Failure("invalid container name or ID: value is empty")
    where = "/commit" + query(
        container=container,
        repo=repository or None,
        tag=tag or None,
        author=values.text("author") or None,
        comment=values.text("message") or None,
        pause=values.on("pause", True),
    )
    where += "".join(f"&changes={quote(text)}" for text in values.many("change"))
    context.say(context.client.post(where)["Id"])
    return 0


def _export(context: Context, values: Values, arguments: list[str]) -> int:
    target = target_of(values, "export")
    keep(context.client.open("GET", path(arguments[0], "/export")), target, "export")
    return 0


def _diff(context: Context, _values: Values, arguments: list[str]) -> int:
    for one in context.client.get(path(arguments[0], "/changes")) or ():
        context.say(f"{_KINDS[one['Kind']]} {one['Path']}")
    return 0


COMMANDS = {
    "commit": Command(
        "commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
        "Make an image of a container: of its files as they are now, without volumes, and of how it is started.",
        _commit,
        flags="""
-a, --author string    Who made it ("Name <name@example.com>")
-c, --change list      Apply an instruction of a Dockerfile (CMD ["sh"], ENV A=b, USER u, …)
-m, --message string   A note
-p, --pause            Freeze the container meanwhile (default; --pause=false for not)
""",
        least=1,
        most=2,
    ),
    "export": Command(
        "export [OPTIONS] CONTAINER",
        "Write a container's files to a tar archive (to standard output), without volumes.",
        _export,
        flags="-o, --output string    Write to a file\n",
        least=1,
        most=1,
    ),
    "diff": Command(
        "diff CONTAINER",
        "Show which files a container has changed (C), added (A) and deleted (D) since its image.",
        _diff,
        least=1,
        most=1,
    ),
}
