"""`search`: repositories of a registry by a word."""

from __future__ import annotations

from . import credentials
from .columns import ellipsis
from .command import Command, Context
from .failure import Failure
from .flags import Values
from .http import query
from .records import show

_HEADERS = {"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"}
_WIDTH = 45


def _search(context: Context, values: Values, arguments: list[str]) -> int:
    filters: dict[str, list[str]] = {}
    for text in values.many("filter"):
        name, _, value = text.partition("=")
        filters.setdefault(name, []).append(value)
    term = arguments[0]
    limit = values.text("limit")
    if limit and not limit.isdigit():
        raise Failure(f'hako: invalid argument "{limit}" for "--limit" flag')
    where = "/images/search" + query(term=term, limit=limit or None, filters=filters or None)
    found = context.client.open(
        "GET", where, headers=credentials.header(f"{term}/x" if "/" not in term else term)
    )
    rows = [
        {
            "Name": one["name"],
            "Description": one["description"]
            if values.on("no-trunc")
            else ellipsis(_line(one["description"]), _WIDTH),
            "StarCount": str(one["star_count"]),
            "IsOfficial": "[OK]" if one["is_official"] else "",
        }
        for one in sorted(next(found.lines(), []), key=lambda one: -one["star_count"])
    ]
    show(context, rows, headers=_HEADERS, columns=list(_HEADERS), form=values.text("format"))
    return 0


def _line(text: str) -> str:
    return " ".join(text.split())


COMMANDS = {
    "search": Command(
        "search [OPTIONS] TERM",
        "Look for repositories in a registry that can search (TERM, or HOST/TERM).",
        _search,
        flags="""
-f, --filter filter  Only those that match (is-official=true, stars=3)
    --format string  A template ({{.Name}}), or "table TEMPLATE"
    --limit int      How many at most (25)
    --no-trunc       Whole descriptions
""",
        least=1,
        most=1,
    )
}
