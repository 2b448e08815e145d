"""Checking a client's JSON against a table of types: every error names the field, the value and what is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hakobune.errors import InvalidArgument

_WORDS: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    dict: "an object",
    list: "a list",
}

Table = Mapping[str, tuple[type, Any]]


def checked(document: Any, table: Table, where: str) -> dict[str, Any]:
    """The fields of `table` (name -> type, default) out of a document; null counts as absent.

    Fields that the table does not name are left out, as clients of other versions send them. Raises
    InvalidArgument.
    """
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise InvalidArgument(f"invalid JSON: {where}: an object is needed, got {document!r:.60}")
    found: dict[str, Any] = {}
    for name, (kind, default) in table.items():
        value = document.get(name)
        if value is None:
            found[name] = default.copy() if isinstance(default, dict | list) else default
            continue
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InvalidArgument(
                f"invalid JSON: {where}.{name}: {_WORDS[kind]} is needed, got {value!r:.60}"
            )
        found[name] = value
    return found


def strings(values: Any, where: str) -> list[str]:
    """A list of strings; one string counts as a list of it. Raises InvalidArgument."""
    if values is None:
        return []
    if isinstance(values, str):
        return [values]
    if not isinstance(values, list) or not all(
        isinstance(value, str) and "\0" not in value for value in values
    ):
        raise InvalidArgument(f"invalid JSON: {where}: a list of strings is needed, got {values!r:.60}")
    return list(values)
