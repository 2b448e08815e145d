"""HEALTHCHECK as it stands in a Dockerfile: `NONE`, or flags and `CMD …`. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hakobune.errors import InvalidArgument
from hakobune.spec.duration import nanoseconds

_FLAG = re.compile(r"--([a-z-]+)=(\S*)\s*")
_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}
_LEAST = 1_000_000  # a millisecond


def healthcheck(text: str, words: Callable[[str], list[str] | None]) -> dict[str, Any]:
    """The `Healthcheck` object; `words` reads the JSON form. Raises InvalidArgument."""
    found: dict[str, Any] = {}
    while match := _FLAG.match(text):
        _flag(found, match[1], match[2])
        text = text[match.end() :]
    if text.startswith("--"):
        raise InvalidArgument(f"HEALTHCHECK: unknown flag: {text.split()[0].lstrip('-')}")
    kind, _, rest = text.partition(" ")
    rest = rest.strip()
    if kind.upper() == "NONE":
        if rest or found:
            raise InvalidArgument("HEALTHCHECK NONE takes no arguments")
        return {"Test": ["NONE"]}
    if kind.upper() != "CMD":
        raise InvalidArgument(f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)')
    command = words(rest)
    if not rest or command == []:
        raise InvalidArgument("Missing command after HEALTHCHECK CMD")
    return {"Test": ["CMD-SHELL", rest] if command is None else ["CMD", *command], **found}


def _flag(found: dict[str, Any], name: str, value: str) -> None:
    if name in _TIMES:
        found[_TIMES[name]] = _time(name, value)
    elif name == "retries":
        if not value.isdigit():
            raise InvalidArgument(f"HEALTHCHECK: --retries must be a whole number, not {value!r}")
        found["Retries"] = int(value)
    else:
        raise InvalidArgument(f"HEALTHCHECK: unknown flag: {name}")


def _time(name: str, text: str) -> int:
    """Nanoseconds; 0 stands for the default."""
    at = nanoseconds(text)
    if at is None:
        raise InvalidArgument(f'HEALTHCHECK: time: invalid duration "{text}"')
    if 0 < at < _LEAST:
        raise InvalidArgument(f'Interval "{name}" cannot be less than 1ms')
    return at
