"""Times as the Docker API writes them."""

from __future__ import annotations

from hakobune.logs import json_file

NEVER = "0001-01-01T00:00:00Z"


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
