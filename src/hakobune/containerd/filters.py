"""containerd's filter language: `field==value,other!="x"`, `field~=regex`, `field`; one string is all-of.

A list of such strings matches when any does, and when it is empty. Sans I/O; pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hakobune.errors import InvalidArgument

Get = Callable[[tuple[str, ...]], str | None]
"""The value of a field path, or None when the object has no such field."""

_SPACE = re.compile(r"\s*")
_SEGMENT = re.compile(r'[A-Za-z0-9_]+|"(?:[^"\\]|\\.)*"')
_OPERATOR = re.compile(r"==|!=|~=")
_VALUE = re.compile(r'"(?:[^"\\]|\\.)*"|[^",]*')
_PATTERN = re.compile(r'"(?:[^"\\]|\\.)*"|/(?:[^/\\]|\\.)*/(?=\s*(?:,|$))|\|(?:[^|\\]|\\.)*\||[^,]*')


@dataclass(frozen=True, slots=True)
class Test:
    """One comparison; an empty operator asks for presence."""

    path: tuple[str, ...]
    operator: str = ""
    value: str = ""

    def matches(self, get: Get) -> bool:
        """Whether the object passes."""
        found = get(self.path)
        if self.operator == "==":
            return found == self.value
        if self.operator == "!=":
            return found != self.value
        if self.operator == "~=":
            return found is not None and re.search(self.value, found) is not None
        return bool(found)


def parse(text: str) -> tuple[Test, ...]:
    """The tests that one filter string is made of. Raises InvalidArgument."""
    tests: list[Test] = []
    at = 0
    while at < len(text):
        test, at = _parse_one(text, _past_space(text, at))
        tests.append(test)
        at = _past_space(text, at)
        if at < len(text):
            if text[at] != ",":
                raise InvalidArgument(f"filter {text!r}: unexpected {text[at]!r} at {at}")
            at += 1
    return tuple(tests)


def _parse_one(text: str, at: int) -> tuple[Test, int]:
    path = []
    while True:
        segment = _SEGMENT.match(text, at)
        if not segment:
            raise InvalidArgument(f"filter {text!r}: a field name is expected at {at}")
        path.append(_plain(segment.group()))
        at = segment.end()
        if at >= len(text) or text[at] != ".":
            break
        at += 1
    operator = _OPERATOR.match(text, _past_space(text, at))
    if not operator:
        return Test(tuple(path)), at
    start = _past_space(text, operator.end())
    value = (_PATTERN if operator.group() == "~=" else _VALUE).match(text, start)
    assert value is not None
    plain = _plain(value.group().rstrip(), operator.group() == "~=")
    if operator.group() == "~=":
        try:
            re.compile(plain)
        except re.error as err:
            raise InvalidArgument(f"filter {text!r}: {err}") from err
    return Test(tuple(path), operator.group(), plain), value.end()


def _past_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _plain(token: str, pattern: bool = False) -> str:
    if token[:1] == '"' and len(token) > 1:
        return re.sub(r"\\(.)", r"\1", token[1:-1])
    if pattern and len(token) > 1 and token[0] in "|/" and token[-1] == token[0] and token.count("/") != 1:
        return token[1:-1] if token[0] == "|" else token[1:-1].replace("\\/", "/")
    return token


class Filter:
    """Several filter strings, any of which may match."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._any: Sequence[tuple[Test, ...]] = [parse(text) for text in texts]

    def __bool__(self) -> bool:
        """False when everything passes."""
        return bool(self._any)

    def matches(self, get: Get) -> bool:
        """Whether the object passes."""
        return not self._any or any(all(test.matches(get) for test in tests) for tests in self._any)


def fields(plain: Mapping[str, str], labels: Mapping[str, str]) -> Get:
    """The field paths of an object with `plain` fields (dotted names) and labels."""

    def get(path: tuple[str, ...]) -> str | None:
        if path[0] in ("labels", "annotations") and len(path) > 1:
            return labels.get(".".join(path[1:]))
        return plain.get(".".join(path))

    return get
