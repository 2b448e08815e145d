"""What is believed of a manifest."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakobune.errors import DataLoss, InvalidArgument
from hakobune.registry import manifests
from hakobune.registry.repository import DOCKER_LIST, DOCKER_MANIFEST, INDEX, LARGEST_MANIFEST, MANIFEST
from hakobune.spec.descriptor import Descriptor


def _body(**fields: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, **fields}).encode()


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"config": {}, "layers": []}, MANIFEST),
        ({"manifests": []}, INDEX),
        ({"mediaType": DOCKER_MANIFEST, "config": {}, "layers": []}, DOCKER_MANIFEST),
        ({"mediaType": DOCKER_LIST, "manifests": []}, DOCKER_LIST),
    ],
)
def test_the_type_is_what_the_document_says(fields: dict[str, Any], kind: str) -> None:
    body = _body(**fields)
    assert manifests.described(kind, body, "x").media_type == kind
    assert manifests.described("application/octet-stream", body, "x") == Descriptor(
        kind, manifests.digest_of(body), len(body)
    )


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        (MANIFEST, {"manifests": [], "layers": []}, "both manifests and layers"),
        (MANIFEST, {"manifests": [], "config": {}}, "both manifests and layers"),
        (INDEX, {"mediaType": MANIFEST, "config": {}, "layers": []}, "came as"),
        (MANIFEST, {"mediaType": INDEX, "manifests": []}, "came as"),
        (MANIFEST, {"mediaType": INDEX, "config": {}, "layers": []}, "says that it is"),
        (INDEX, {"mediaType": MANIFEST, "manifests": []}, "says that it is"),
        (MANIFEST, {"mediaType": "text/html", "config": {}}, "unsupported media type"),
        (MANIFEST, {"schemaVersion": 1, "fsLayers": []}, "schema 1"),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", {"layers": []}, "schema 1"),
    ],
)
def test_two_readings_are_refused(kind: str, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        manifests.described(kind, _body(**fields), "x")


def test_what_came_is_what_was_asked_for() -> None:
    body = _body(config={}, layers=[])
    right = Descriptor(MANIFEST, manifests.digest_of(body), len(body))
    assert manifests.checked(right, body) == body
    with pytest.raises(DataLoss, match="verification failed"):
        manifests.checked(right, body[:-1] + b" ")
    with pytest.raises(DataLoss, match="instead of"):
        manifests.checked(right, body + b" ")
    with pytest.raises(InvalidArgument, match="says that it is"):
        manifests.checked(Descriptor(DOCKER_MANIFEST, right.digest, right.size), body)
    with pytest.raises(InvalidArgument, match="more than"):
        manifests.check_size(Descriptor(MANIFEST, right.digest, LARGEST_MANIFEST + 1))


def test_a_page_is_no_manifest() -> None:
    with pytest.raises(InvalidArgument, match=r"begins with '<html>"):
        manifests.described("text/html", b"<html><body>captive portal", "x")


def test_depth_is_no_danger() -> None:
    with pytest.raises(InvalidArgument):
        manifests.described(MANIFEST, b"[" * 1_000_000, "x")


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:", "sha256:../../etc/passwd", "md5:" + "0" * 32, "sha256:" + "G" * 64, "sha256:" + "a" * 63],
)
def test_a_digest_is_checked_before_it_is_a_path(digest: str) -> None:
    with pytest.raises(InvalidArgument):
        manifests.check_name(digest)


@given(st.binary(max_size=200))
def test_bytes_are_a_manifest_or_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidArgument):
        manifests.described(MANIFEST, body, "x")
