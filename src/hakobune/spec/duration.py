"""How long, as Go programs write it: `1h30m`, `250ms`, `1.5s`. Imports: re."""

from __future__ import annotations

import re

_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def nanoseconds(text: str) -> int | None:
    """None for what is no duration, or one below zero."""
    if text == "0":
        return 0
    at, total = 0, 0.0
    while match := _TERM.match(text, at):
        total += float(match[1]) * _UNITS[match[2]]
        at = match.end()
    return int(total) if at and at == len(text) else None
