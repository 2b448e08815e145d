"""`--filter KEY=VALUE`, collected the way the API wants them: `{"label": {"a=b": true}}`."""

from __future__ import annotations

from .flags import BadFlags


def filters(values: list[str]) -> dict[str, dict[str, bool]] | None:
    """None when there are none. Raises BadFlags for one without `=`."""
    found: dict[str, dict[str, bool]] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals:
            raise BadFlags(f'invalid argument "{text}" for "-f, --filter" flag: invalid filter \'{text}\'')
        found.setdefault(key.strip().lower(), {})[value.strip()] = True
    return found or None
