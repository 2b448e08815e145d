"""`inspect`: the engine's own documents, whole or through a template; of one noun, or of whatever has the name."""

from __future__ import annotations

import json
from collections.abc import Callable

from .command import Command, Context
from .failure import ApiFailure, Failure
from .flags import Values
from .http import query, quote
from .records import each_document
from .template import Template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}


def _inspector(kind: str) -> Callable[[Context, Values, list[str]], int]:
    def run(context: Context, values: Values, arguments: list[str]) -> int:
        kinds = [kind or values.text("type")] if kind or values.text("type") else list(_PATHS)
        if kinds[0] not in _PATHS:
            raise Failure(f'"{kinds[0]}" is not a valid value for --type')
        form = values.text("format")
        if form and form != "json":
            _check(form)
        found, failures = [], []
        for name in arguments:
            try:
                found.append(_find(context, name, kinds, values.on("size")))
            except Failure as err:
                failures.append(str(err))
        if not form:
            context.say(json.dumps(found, indent=4, ensure_ascii=False))
        else:
            each_document(context, found, form)
        context.warn(*failures)
        return 1 if failures else 0

    return run


def _check(form: str) -> None:
    """Before anything is asked for. Raises Failure with the code 64 for what is no template."""
    try:
        Template(form)
    except Failure as err:
        raise Failure(str(err), 64) from err


def _find(context: Context, name: str, kinds: list[str], sized: bool) -> Any:
    for kind in kinds:
        where = _PATHS[kind].format(quote(name, safe="/:@" if kind == "image" else ""))
        try:
            return context.client.get(where + (query(size=True) if sized and kind == "container" else ""))
        except ApiFailure as err:
            if err.status != 404 or len(kinds) == 1:
                raise
    raise Failure(f"Error: No such object: {name}")


_FORMAT = "-f, --format string  json, or a template ({{.State.Pid}})\n"
_SIZE = "-s, --size  Also the size of containers\n"

COMMANDS = {
    "inspect": Command(
        "inspect [OPTIONS] NAME|ID [NAME|ID...]",
        "Show all that is known of containers, images, networks or volumes, as JSON or through a template.",
        _inspector(""),
        flags=_FORMAT + _SIZE + "    --type string  Only look among: container, image, network, volume\n",
        least=1,
        most=None,
    ),
    **{
        f"{kind} inspect": Command(
            f"{kind} inspect [OPTIONS] {kind.upper()} [{kind.upper()}...]",
            f"Show all that is known of {kind}s, as JSON or through a template.",
            _inspector(kind),
            flags=_FORMAT + (_SIZE if kind == "container" else "-v, --verbose  Accepted, does nothing\n"),
            least=1,
            most=None,
        )
        for kind in _PATHS
    },
}
