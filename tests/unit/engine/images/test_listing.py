"""Patterns of names, times of pruning, platforms and parameters of a pull."""

from __future__ import annotations

import pytest

from hakobune.containerd.client.transfer import Platform
from hakobune.engine.images import importing, model, platforms, pull
from hakobune.engine.images.images import named
from hakobune.engine.images.listing import pattern
from hakobune.engine.images.model import host_platform
from hakobune.errors import InvalidArgument, NotFound

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "name", "fits"),
    [
        ("*", "a", True), ("*", "a/b", False), ("a*", "abc", True), ("*/b", "a/b", True), ("a?", "ab", True),
        ("a?", "a/", False), ("a[bc]", "ab", True), ("a[^bc]", "ab", False), (r"a\*", "a*", True), ("a.c", "abc", False),
    ],
)  # fmt: skip
def test_patterns(text: str, name: str, fits: bool) -> None:
    assert bool(pattern(text).fullmatch(name)) is fits


def test_a_pattern_that_is_none() -> None:
    with pytest.raises(InvalidArgument):
        pattern("a[z-a]")


def test_what_a_text_may_be() -> None:
    assert named("ab" * 32) is None
    assert named(DIGEST) is None
    assert str(named("abc")) == "docker.io/library/abc:latest"
    for bad in ("", "A B"):
        with pytest.raises(InvalidArgument, match="invalid reference format"):
            named(bad)


def test_the_starter_image_comes_from_nowhere() -> None:
    for image, tag, platform in (("hako/starter", "", ""), ("docker.io/hako/starter", "latest", "linux")):
        asked = pull.wanted(image, tag, platform)
        pull.check_starter(asked.name, asked.platform)
    for tag, platform, words in (
        ("v2", "", "manifest for hako/starter:v2 not found"),
        (DIGEST, "", f"manifest for hako/starter@{DIGEST} not found"),
        ("", "linux/s390x", "no matching manifest for linux/s390x"),
    ):
        asked = pull.wanted("hako/starter", tag, platform)
        with pytest.raises(NotFound, match=words):
            pull.check_starter(asked.name, asked.platform)


def test_parameters_of_a_pull() -> None:
    assert str(pull.wanted("alpine", "3", "").name) == "docker.io/library/alpine:3"
    assert str(pull.wanted("alpine", "", "").name) == "docker.io/library/alpine", "all tags"
    assert str(pull.wanted("localhost:5000/a", DIGEST, "").name) == f"localhost:5000/a@{DIGEST}"
    assert str(pull.wanted(f"a:1@{DIGEST}", "", "").name) == f"docker.io/library/a@{DIGEST}"
    for image, tag, platform in (
        ("a b", "", ""), ("a", "b/c", ""), ("a", "1", "linux//x"), ("a", "1", "plan9/amd64"), ("a", "sha256:12", ""),
    ):  # fmt: skip
        with pytest.raises(InvalidArgument):
            pull.wanted(image, tag, platform)


def test_platforms() -> None:
    assert platforms.platform_of("linux/ARM64/v8") == Platform("linux", "arm64", "v8")
    assert platforms.platform_of("aarch64") == Platform("linux", "arm64")
    assert platforms.platform_of("linux").architecture == host_platform()[0]
    assert platforms.platform_of("").os == "linux"


def test_parameters_of_an_import() -> None:
    asked = importing.wanted("box", "v1", "", ["USER a"], "linux/arm64/v8")
    assert str(asked.name) == "docker.io/library/box:v1"
    assert asked.config["architecture"] == "arm64"
    assert asked.config["variant"] == "v8"
    assert asked.config["config"] == {"User": "a"}
    assert asked.config["history"][0]["comment"] == "Imported from -"
    assert importing.wanted("", "", "", (), "").name is None
    for repository, tag, platform in (
        ("A B", "", ""), ("a", "v 1", ""), (f"a@{DIGEST}", "", ""), ("a", DIGEST, ""), ("a", "", "windows/amd64"),
    ):  # fmt: skip
        with pytest.raises(InvalidArgument):
            importing.wanted(repository, tag, "", (), platform)


def test_chains() -> None:
    assert model.chains([]) == []
    first, second = model.chains(["sha256:a", "sha256:b"])
    assert first == "sha256:a"
    assert second == model.digest_of(b"sha256:a sha256:b")
