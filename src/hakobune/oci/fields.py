"""Fields of a JSON document, each of the type that it should have. Every error names the field. Imports: errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hakobune.errors import InvalidArgument
from hakobune.record import Any

_WORDS: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    dict: "an object",
    list: "a list",
}


def get(doc: Mapping[str, Any], field: str, want: type, default: Any, *, at: str = "") -> Any:
    """`doc[field]` when it has the type `want`; `default` when it is absent or null. Raises InvalidArgument."""
    value = doc.get(field)
    if value is None:
        return default
    if not isinstance(value, want) or (want is int and isinstance(value, bool)):
        raise InvalidArgument(f"{at}{field}: expected {_WORDS[want]}, got {value!r:.60}")
    return value


def strings(doc: Mapping[str, Any], field: str, *, at: str = "") -> tuple[str, ...]:
    """A list of strings that can be an argument of a system call. Raises InvalidArgument."""
    values = get(doc, field, list, [], at=at)
    for index, value in enumerate(values):
        if not isinstance(value, str) or "\0" in value:
            raise InvalidArgument(
                f"{at}{field}[{index}]: expected a string without a zero byte, got {value!r:.60}"
            )
    return tuple(values)


def objects(doc: Mapping[str, Any], field: str, *, at: str = "") -> Sequence[Mapping[str, Any]]:
    """A list of objects. Raises InvalidArgument."""
    values: list[Mapping[str, Any]] = get(doc, field, list, [], at=at)
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise InvalidArgument(f"{at}{field}[{index}]: expected an object, got {value!r:.60}")
    return values


def within(doc: Mapping[str, Any], field: str, at: str, least: int, most: int, default: Any = None) -> Any:
    """A number of a range, both ends included. Raises InvalidArgument."""
    value = get(doc, field, int, default, at=at)
    if value is not None and not least <= value <= most:
        raise InvalidArgument(f"{at}{field}: {value} is outside {least}..{most}")
    return value


def identity(user: Mapping[str, Any], field: str, at: str) -> int:
    """The number of a user or a group. Raises InvalidArgument."""
    value: int = get(user, field, int, 0, at=at)
    # (uid_t)-1 means "leave as it is" to the kernel: CVE-2024-40635 was a wrap to 0.
    if not 0 <= value < 0xFFFFFFFF:
        raise InvalidArgument(f"{at}{field}: {value} is outside 0..4294967294")
    return value
