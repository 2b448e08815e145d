"""Sizes and times as people write and read them: `72.8MB`, `512m`, `About an hour`, `1h30m`.

The roundings are those of Docker's tables, so that scripts and eyes find what they expect.
"""

from __future__ import annotations

import time

_BINARY = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_DECIMAL_NAMES = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY_NAMES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SECOND = 1_000_000_000
_DURATIONS = {
    "ns": 1, "us": 1000, "µs": 1000, "ms": 1_000_000, "s": _SECOND, "m": 60 * _SECOND, "h": 3600 * _SECOND,
}  # fmt: skip
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def parse_bytes(text: str) -> int:
    """`512m`, `1.5g`, `64MiB`, `1048576`: bytes, powers of 1024. Raises ValueError."""
    bare = text.strip().lower()
    number = bare.rstrip("bkmgtpi ")
    unit = bare[len(number) :].strip()
    unit = unit.removesuffix("b").removesuffix("i") if len(unit) > 1 else unit
    if unit not in _BINARY or not number or not number.replace(".", "", 1).isdigit():
        raise ValueError(f"invalid size: '{text}'")
    return int(float(number) * _BINARY[unit]) if "." in number else int(number) * _BINARY[unit]


def human_size(size: float, *, digits: int = 4) -> str:
    """Powers of 1000: 72812345 is `72.81MB`, with three digits `72.8MB`."""
    return _scaled(size, 1000, _DECIMAL_NAMES, digits)


def binary_size(size: float) -> str:
    """Powers of 1024: 67108864 is `64MiB`."""
    return _scaled(size, 1024, _BINARY_NAMES, 4)


def _scaled(size: float, base: int, names: tuple[str, ...], digits: int) -> str:
    step = 0
    while size >= base and step < len(names) - 1:
        size /= base
        step += 1
    return f"{size:.{digits}g}{names[step]}"


def parse_duration(text: str) -> int:
    """`1h30m`, `250ms`, `0`: nanoseconds. Raises ValueError."""
    if text.lstrip("+-") == "0":
        return 0
    rest, total = text.lstrip("+-"), 0.0
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    while rest:
        end = next((n for n, sign in enumerate(rest) if not (sign.isdigit() or sign == ".")), len(rest))
        number, rest = rest[:end], rest[end:]
        end = next((n for n, sign in enumerate(rest) if sign.isdigit() or sign == "."), len(rest))
        unit, rest = rest[:end], rest[end:]
        if not number.strip(".") or not unit:
            wrong = "missing unit in" if number else "invalid"
            raise ValueError(f'time: {wrong} duration "{text}"')
        if unit not in _DURATIONS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        total += float(number) * _DURATIONS[unit]
    return int(-total if text.startswith("-") else total)


def human_duration(seconds: float) -> str:
    """How long, roughly: `5 seconds`, `About a minute`, `3 weeks`."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < _MINUTE:
        return f"{whole} seconds"
    minutes = whole // _MINUTE
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / _HOUR + 0.5)
    return "About an hour" if hours == 1 else _long_duration(hours)


def _long_duration(hours: int) -> str:
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 14:
        return f"{hours // 24} days"
    if hours < 24 * 60:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{hours // 24 // 365} years"


def ago(moment: float) -> str:
    """`3 hours ago` for seconds since the epoch."""
    return f"{human_duration(time.time() - moment)} ago"


def parse_rfc3339(text: str) -> tuple[int, int]:
    """`2026-11-24T07:14:38.25Z` as (seconds since the epoch, nanoseconds). Raises ValueError.

    A date alone, a time without seconds and a missing zone (local time) are taken too.
    """
    day, _, clock = text.replace(" ", "T", 1).partition("T")
    clock, offset = _split_zone(clock)
    clock, _, fraction = clock.partition(".")
    numbers = [int(part) for part in [*day.split("-"), *(clock.split(":") if clock else [])]]
    if len(day.split("-")) != 3 or len(numbers) > 6:
        raise ValueError(f'parsing time "{text}": not a date')
    year, month, mday, hour, minute, second = (*numbers, 0, 0, 0)[:6]
    stamp = (year, month, mday, hour, minute, second, 0, 0, -1)
    seconds = int(time.mktime(stamp)) if offset is None else _utc(stamp) - offset
    return seconds, int(fraction[:9].ljust(9, "0")) if fraction else 0


def _split_zone(clock: str) -> tuple[str, int | None]:
    """(clock, seconds east of UTC or None when no zone is given)."""
    if clock.endswith(("Z", "z")):
        return clock[:-1], 0
    for sign in "+-":
        bare, found, zone = clock.partition(sign)
        if found:
            hours, _, minutes = zone.partition(":")
            east = int(hours) * _HOUR + int(minutes or 0) * _MINUTE
            return bare, east if sign == "+" else -east
    return clock, None


def _utc(stamp: tuple[int, ...]) -> int:
    """Days by the civil calendar: `calendar` would cost a millisecond to import."""
    year, month, day = stamp[0] - (stamp[1] <= 2), stamp[1], stamp[2]
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    days = era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
    return days * _DAY + stamp[3] * _HOUR + stamp[4] * _MINUTE + stamp[5]


def timestamp(text: str) -> str:
    """What `--since` takes, as the API wants it: `42m` ago, a date, or seconds since the epoch.

    Returns `SECONDS.NANOSECONDS`. Raises ValueError.
    """
    if not text or text.replace(".", "", 1).isdigit():
        return text
    try:
        moment = time.time_ns() - parse_duration(text)
        return f"{moment // _SECOND}.{moment % _SECOND:09d}"
    except ValueError:
        try:
            seconds, nanoseconds = parse_rfc3339(text)
        except (ValueError, OverflowError):
            raise ValueError(f'failed to parse value as time or duration: "{text}"') from None
        return f"{seconds}.{nanoseconds:09d}"


def local_time(nanoseconds: int) -> str:
    """RFC 3339 in this machine's zone, nine digits: what `events` prints."""
    moment = time.localtime(nanoseconds // _SECOND)
    zone = moment.tm_gmtoff
    text = time.strftime("%Y-%m-%dT%H:%M:%S", moment) + f".{nanoseconds % _SECOND:09d}"
    if zone == 0:
        return f"{text}Z"
    return f"{text}{'+' if zone > 0 else '-'}{abs(zone) // _HOUR:02d}:{abs(zone) % _HOUR // _MINUTE:02d}"


def table_time(seconds: float) -> str:
    """`2026-11-24 07:14:38 +0000 UTC`: the CreatedAt column."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))
