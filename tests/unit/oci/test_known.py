"""The remembered seccomp profile is recognised by its text, and by nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hakobune.oci import capabilities, known, seccomp, seccomp_default


@pytest.fixture
def profile() -> Iterator[dict[str, Any]]:
    before = known._known
    found = seccomp_default.profile(capabilities.DEFAULT)
    known.remember(found)
    yield found
    known._known = before


def compact(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def test_the_known_profile_is_one_object_with_its_program(profile: dict[str, Any]) -> None:
    document = {"a": 1, "linux": {"x": [1], "seccomp": profile, "y": "z"}}
    found = known.parse(compact(document))
    assert found == json.loads(compact(document))
    assert known.is_known(found["linux"]["seccomp"])
    assert known.program(found["linux"]["seccomp"], "") == seccomp.cached(json.loads(compact(profile)))


def test_another_profile_is_parsed(profile: dict[str, Any]) -> None:
    other = {**profile, "defaultErrnoRet": 38}
    found = known.parse(compact({"linux": {"seccomp": other}}))
    assert found["linux"]["seccomp"]["defaultErrnoRet"] == 38
    assert not known.is_known(found["linux"]["seccomp"])


def test_in_another_place_it_is_no_profile(profile: dict[str, Any]) -> None:
    document = {"annotations": {"seccomp": profile}, "linux": {"seccomp": None}}
    assert known.parse(compact(document)) == json.loads(compact(document))


def test_its_text_inside_a_string_stays_a_string(profile: dict[str, Any]) -> None:
    document = {"annotations": {"x": '"seccomp":' + compact(profile).decode()}, "linux": {}}
    assert known.parse(compact(document)) == document


def test_the_mark_itself_is_no_profile(profile: dict[str, Any]) -> None:
    assert known.parse(b'{"linux":{"seccomp":"known"}}') == {"linux": {"seccomp": "known"}}


def test_what_is_not_json_is_refused(profile: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Expecting"):
        known.parse(b'{"linux":{"seccomp":' + compact(profile) + b"}")
