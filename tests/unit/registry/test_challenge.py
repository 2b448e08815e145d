"""What WWW-Authenticate headers mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakobune.registry.challenge import Challenge, parse, pick

_NAMES = st.text("abcdefghijklmnopqrstuvwxyz_-", min_size=1, max_size=10)
_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://auth.example/token",service="a, b",scope="repository:x:pull"',
            [Challenge("bearer", {"realm": "https://auth.example/token", "service": "a, b", "scope": "repository:x:pull"})],
        ),
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        ("Basic", [Challenge("basic", {})]),
        ("Basic realm=x, Bearer realm=y ,service = z", [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y", "service": "z"})]),
        ("Negotiate abc==, Basic realm=x", [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})]),
        ('Bearer realm="a \\"quoted\\" one"', [Challenge("bearer", {"realm": 'a "quoted" one'})]),
        ('Bearer realm="never closed', [Challenge("bearer", {})]),
        ("", []),
        (",,,", []),
    ],
)  # fmt: skip
def test_parsed(header: str, expected: list[Challenge]) -> None:
    assert parse([header])[: len(expected) or None] == expected


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=6, unique_by=lambda pair: pair[0]))
def test_quoted_parameters_come_back(pairs: list[tuple[str, str]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = "Bearer " + ", ".join(f"{name}={quoted(value)}" for name, value in pairs)
    assert parse([header]) == [Challenge("bearer", dict(pairs))]


@given(st.text(max_size=200))
def test_anything_ends(text: str) -> None:
    for found in parse([text]):
        assert found.scheme == found.scheme.lower()


def test_bearer_is_answered_before_basic() -> None:
    found = pick(parse(["Basic realm=x", 'Bearer realm="y"', "Digest realm=z"]))
    assert found == Challenge("bearer", {"realm": "y"})
    assert pick(parse(["Digest realm=z"])) is None
