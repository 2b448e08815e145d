"""What a registry says when it wants to know who asks: the WWW-Authenticate header. Pure.

Source: RFC 9110, section 11.6.1; distribution's token specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SPACE = re.compile(r"[ \t]*")
_LONGEST = 8192


@dataclass(frozen=True, slots=True)
class Challenge:
    """`scheme` and the names of `parameters` in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
        return match

    def skip(self, signs: str) -> bool:
        """Past blanks and, when it is next, one of `signs`."""
        self.take(_SPACE)
        found = self.at < len(self.text) and self.text[self.at] in signs
        self.at += found
        if found:
            self.take(_SPACE)
        return found


def parse(values: Iterable[str]) -> list[Challenge]:
    """All challenges of these header values; what is malformed is left out from where it begins."""
    return [found for value in values for found in _parse(_Reader(value[:_LONGEST]))]


def _parse(reader: _Reader) -> list[Challenge]:
    found: list[Challenge] = []
    while True:
        while reader.skip(","):
            pass
        scheme = reader.take(_TOKEN)
        if scheme is None:
            return found
        parameters: dict[str, str] = {}
        found.append(Challenge(scheme[0].lower(), parameters))
        if reader.take(_SPACE) and _peek68(reader):
            continue
        while (pair := _pair(reader)) is not None:
            parameters.setdefault(*pair)
            if not reader.skip(","):
                break


def _peek68(reader: _Reader) -> bool:
    """A scheme may have one bare value in place of parameters (`Negotiate abc=`); it is passed over."""
    return bool(reader.take(_TOKEN68))


def _pair(reader: _Reader) -> tuple[str, str] | None:
    start = reader.at
    name = reader.take(_TOKEN)
    if name is not None and reader.skip("="):
        if quoted := reader.take(_QUOTED):
            return name[0].lower(), re.sub(r"\\(.)", r"\1", quoted[1])
        if plain := reader.take(_TOKEN):
            return name[0].lower(), plain[0]
    reader.at = start  # it is the next challenge
    return None


def pick(challenges: Iterable[Challenge]) -> Challenge | None:
    """The one to answer: Bearer before Basic, others cannot be."""
    known = {one.scheme: one for one in reversed(list(challenges))}
    return known.get("bearer") or known.get("basic")
