"""Times as the Docker API writes them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

from hakobune.errors import InvalidArgument
from hakobune.logs import json_file

NEVER = "0001-01-01T00:00:00Z"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = re.compile(r"(-?[0-9]{1,18})(?:\.([0-9]*))?")
_FRACTION = re.compile(r"\.([0-9]+)")
_DURATION = re.compile(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def rfc3339(nanoseconds: int) -> str:
    """UTC with nanoseconds; Go's zero time for 0."""
    return json_file.rfc3339(nanoseconds) if nanoseconds else NEVER


def elapsed(nanoseconds: int) -> str:
    """A duration as people say it: `Less than a second`, `5 minutes`, `2 hours`."""
    seconds = max(0, nanoseconds) // 1_000_000_000
    if seconds < 1:
        return "Less than a second"
    if seconds == 1:
        return "1 second"
    if seconds < 60:
        return f"{seconds} seconds"
    minutes = seconds // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = (seconds + 1800) // 3600
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    days = hours // 24
    for most, unit, size in ((14, "days", 1), (60, "weeks", 7), (730, "months", 30)):
        if days < most:
            return f"{days // size} {unit}"
    return f"{days // 365} years"


def moment(text: str) -> int:
    """Seconds since the epoch with a fraction, or RFC 3339 -> nanoseconds; 0 for nothing. Raises InvalidArgument."""
    if text in ("", "0"):
        return 0
    if match := _SECONDS.fullmatch(text):
        return max(0, int(match[1]) * 10**9 + int((match[2] or "0").ljust(9, "0")[:9]))
    try:
        at = datetime.fromisoformat(_FRACTION.sub("", text, count=1))
    except ValueError as err:
        raise InvalidArgument(f"invalid value for time: {text!r}") from err
    fraction = _FRACTION.search(text)
    since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH
    return max(
        0, since // timedelta(seconds=1) * 10**9 + int(fraction[1].ljust(9, "0")[:9] if fraction else 0)
    )


def bound(text: str) -> int:
    """The value of an `until` filter: a moment, or how long ago (`1h30m`) -> nanoseconds. Raises InvalidArgument."""
    ago, end = 0.0, 0
    while match := _DURATION.match(text, end):
        ago += float(match[1]) * _UNITS[match[2]]
        end = match.end()
    return time.time_ns() - int(ago) if end and end == len(text) else moment(text)
