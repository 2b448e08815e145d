"""Credentials, settings, words and progress of what goes to and comes from registries."""

from __future__ import annotations

import asyncio
import base64
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hakobune.containerd.client.transfer import Answer, Progress
from hakobune.engine.images import credentials, moving, refusals
from hakobune.engine.images.credentials import Credentials
from hakobune.engine.images.registries import Registries, check_insecure, check_mirror, is_insecure
from hakobune.errors import (
    HakoError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from hakobune.registry.hosts import hosts_of
from hakobune.spec import reference
from hakobune.spec.descriptor import Descriptor

LAYER = Descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "sha256:" + "ab" * 32, 1000)


def _encoded(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"username": "me", "password": "??>"}, Credentials("me", "??>")),
        ({"auth": base64.b64encode(b"me:a:b").decode()}, Credentials("me", "a:b")),
        ({"identitytoken": "t", "username": "me"}, Credentials("", "t")),
        ({"registrytoken": "t"}, Credentials(header="Bearer t")),
        ({"username": "me", "password": "x", "serveraddress": "s"}, Credentials("me", "x", server="s")),
        ({}, credentials.NONE),
    ],
)
def test_registry_auth(document: Any, expected: Credentials) -> None:
    for text in (_encoded(document), _encoded(document).rstrip("=")):
        assert credentials.of_request({"x-registry-auth": text}, "docker.io") == expected


@pytest.mark.parametrize("text", ["%%%", _encoded([1]), _encoded({"username": 3}), _encoded({"auth": "%"})])
def test_what_cannot_be_read_is_said(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid"):
        credentials.of_request({"x-registry-auth": text}, "docker.io")


def test_registry_config_names_the_registry() -> None:
    text = _encoded(
        {"https://index.docker.io/v1/": {"username": "hub"}, "localhost:5000": {"username": "here"}}
    )
    headers = {"x-registry-config": text}
    assert credentials.of_request(headers, "docker.io").username == "hub"
    assert credentials.of_request(headers, "localhost:5000").username == "here"
    assert credentials.of_request(headers, "other.test") == credentials.NONE


def test_secrets_are_not_shown() -> None:
    assert "geheim" not in repr(Credentials("me", "geheim", "Bearer geheim"))
    assert "geheim" not in repr(Answer("me", "geheim", "Bearer geheim"))


def test_only_the_registry_itself_is_told(tmp_path: Path) -> None:
    place = Registries(str(tmp_path)).place(reference.parse("docker.io/library/a:1"), Credentials("me", "x"))
    assert place.ask is not None
    ask = place.ask

    async def asked(host: str) -> Answer:
        return await ask(host)

    assert asyncio.run(asked("registry-1.docker.io")) == Answer("me", "x")
    for host in ("mirror.test", "registry-1.docker.io.evil.test", "localhost:5000"):
        assert asyncio.run(asked(host)) == Answer()


def test_mirrors_and_insecure_registries_become_directories(tmp_path: Path) -> None:
    settings = Registries(
        f"{tmp_path}/w",
        f"{tmp_path}/g",
        mirrors=("http://mirror.test:5000",),
        insecure=("10.0.0.0/8", "plain.test:80"),
    )
    assert settings.directory("other.test") == ""
    root = settings.directory("docker.io")
    mirror, hub = hosts_of("docker.io", root)
    assert (mirror.base, mirror.mirror, hub.base) == (
        "http://mirror.test:5000/v2", True, "https://registry-1.docker.io/v2",
    )  # fmt: skip
    (found,) = hosts_of("10.1.2.3:5000", settings.directory("10.1.2.3:5000"))
    assert (found.base, found.fallback, found.tls.skip_verify) == ("https://10.1.2.3:5000/v2", True, True)
    text = Path(root, "docker.io", "hosts.toml").read_text()
    assert tomllib.loads(text)["host"]["http://mirror.test:5000"]["capabilities"] == ["pull", "resolve"]


def test_what_people_write_wins(tmp_path: Path) -> None:
    settings = Registries(f"{tmp_path}/w", f"{tmp_path}/g", insecure=("a.test",))
    Path(tmp_path, "g", "a.test_5000_").mkdir(parents=True)
    assert settings.directory("a.test:5000") == f"{tmp_path}/g"
    assert settings.directory("a.test") == f"{tmp_path}/w"


def test_rules() -> None:
    assert is_insecure("[fd00::1]:5000", ["fd00::/8"])
    assert is_insecure("a.test:5000", ["a.test"])
    assert not is_insecure("a.test:5000", ["a.test:5001", "10.0.0.0/8"])
    for good in ("a.test", "a.test:5000", "10.0.0.0/8", "10.1.1.1:5000"):
        assert check_insecure(good) == good
    for bad in ("http://a.test", "a.test/x", "", "a:b"):
        with pytest.raises(InvalidArgument):
            check_insecure(bad)
    assert check_mirror("https://m.test/") == "https://m.test"
    for bad in ("m.test", "ftp://m.test", "https://m.test/path", "https://u:p@m.test", "https://m.test?x"):
        with pytest.raises(InvalidArgument):
            check_mirror(bad)


@pytest.mark.parametrize(
    ("err", "kind", "words"),
    [
        (NotFound("x:1: manifest unknown: gone: not found"), NotFound, "manifest for a:1 not found: manifest unknown: gone"),
        (NotFound("x: name unknown: none: not found"), NotFound, "repository a not found: name unknown: none"),
        (NotFound("x: not found"), NotFound, "manifest for a:1 not found: manifest unknown: x"),
        (NotFound("no match for platform in manifest x: not found"), NotFound, "no matching manifest for linux/arm64 in"),
        (Unauthenticated("x: server message: denied: no"), NotFound, "pull access denied for a, repository does not exist or may require 'docker login': denied: no"),
        (HakoError("x: authorization failed: no basic auth credentials"), NotFound, "pull access denied for a"),
        (Unavailable("dial tcp: refused"), HakoError, "dial tcp: refused"),
        (HakoError("unknown service containerd.services.transfer.v1.Transfer"), HakoError, "needs? containerd 2.0"),
    ],
)  # fmt: skip
def test_docker_s_words_for_a_pull(err: HakoError, kind: type[HakoError], words: str) -> None:
    found = refusals.of_pull(err, reference.parse("a:1"), "linux/arm64")
    assert isinstance(found, kind)
    assert not isinstance(found, Unavailable), "503 would mean this engine"
    with pytest.raises(kind, match=words):
        raise found


def test_docker_s_words_for_a_push() -> None:
    found = refusals.of_push(Unauthenticated("x: server message: unauthorized: authentication required"))
    assert isinstance(found, PermissionDenied)
    assert found.message == "unauthorized: authentication required"
    assert refusals.of_push(PermissionDenied("x")).message.startswith(
        "denied: requested access to the resource is"
    )


def _statuses(shown: moving.Pulling | moving.Pushing, *events: tuple[str, int]) -> list[str]:
    found = []
    for event, progress in events:
        said = Progress(event, "x", progress, LAYER.size, LAYER)
        found += [json.loads(part)["status"] for part in shown.lines(said)]
    return found


def test_a_layer_that_comes() -> None:
    shown = moving.Pulling()
    assert _statuses(shown, ("waiting", 0), ("downloading", 10), ("downloading", 11), ("complete", 1000)) == [
        "Pulling fs layer", "Downloading", "Verifying Checksum", "Download complete",
    ]  # fmt: skip
    assert _statuses(shown, ("extracting", 0), ("extracted", 0), ("extracted", 0)) == [
        "Extracting",
        "Pull complete",
    ]
    assert list(shown.rest()) == []


def test_a_layer_that_is_there() -> None:
    assert _statuses(moving.Pulling(), ("already exists", 1000), ("extracted", 0)) == ["Already exists"]


def test_a_manager_that_says_little() -> None:
    shown = moving.Pulling()
    assert _statuses(shown, ("waiting", 0)) == ["Pulling fs layer"]
    assert [json.loads(part)["status"] for part in shown.rest()] == ["Pull complete"]


def test_a_layer_that_goes() -> None:
    assert _statuses(moving.Pushing(), ("waiting", 0), ("uploading", 0), ("uploading", 1000), ("complete", 0)) == [
        "Preparing", "Pushing", "Pushing", "Pushed",
    ]  # fmt: skip
    assert _statuses(moving.Pushing(), ("already exists", 0)) == ["Preparing", "Layer already exists"]
    assert _statuses(moving.Pushing(), ("mounted from a/b", 0)) == ["Preparing", "Mounted from a/b"]


def test_what_is_no_layer_is_not_shown() -> None:
    config = Descriptor("application/vnd.oci.image.config.v1+json", LAYER.digest, 10)
    assert not list(moving.Pulling().lines(Progress("complete", "x", 10, 10, config)))
    assert not list(moving.Pulling().lines(Progress("Resolving from x", "", 0, 0, None)))


@pytest.mark.parametrize(
    ("current", "total", "start"), [(0, 100, "[>"), (50, 100, "[" + "=" * 25 + ">"), (5, 0, "")]
)
def test_bars(current: int, total: int, start: str) -> None:
    assert moving.bar(current, total).startswith(start)
