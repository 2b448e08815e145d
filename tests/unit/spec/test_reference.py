"""Names of images, in and out."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakobune.errors import InvalidArgument
from hakobune.spec import reference

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
        ("hako/starter", "docker.io/hako/starter:latest", "hako/starter:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("index.docker.io/library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
        ("localhost:5000/a:b", "localhost:5000/a:b", "localhost:5000/a:b"),
        ("ghcr.io/x/y__z.w--v", "ghcr.io/x/y__z.w--v:latest", "ghcr.io/x/y__z.w--v:latest"),
        ("Host/a", "Host/a:latest", "Host/a:latest"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}", f"alpine@{DIGEST}"),
        (f"alpine:1@{DIGEST}", f"docker.io/library/alpine:1@{DIGEST}", f"alpine:1@{DIGEST}"),
    ],
)
def test_both_ways(text: str, full: str, familiar: str) -> None:
    found = reference.parse(text).whole()
    assert str(found) == full
    assert found.familiar == familiar
    assert reference.parse(str(found)) == found
    assert reference.parse(found.familiar) == found


@pytest.mark.parametrize(
    "text",
    ["", ":", "a b", "-a", "a-", "a//b", "/a", "a/", "a:", "a:-x", "a:b:c", "a@", "a@sha256", "a@sha256:abc", "a..b",
     "a___b", "a:" + "x" * 129, "a\n", "ä", "a@sha256:" + "AB" * 32, f"a@md5:{'ab' * 16}", "https://a/b", "ab" * 32,
     "a/" * 200 + "a"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        reference.parse(text)


def test_the_words_of_refusals() -> None:
    for text, words in (
        ("a b", "invalid reference format"),
        ("UPPER/case", "invalid reference format"),
        ("Alpine", "invalid reference format: repository name (Alpine) must be lowercase"),
        ("a/Alpine:tag", "invalid reference format: repository name (a/Alpine) must be lowercase"),
        ("ab" * 32, f"invalid repository name ({'ab' * 32}), cannot specify 64-byte hexadecimal strings"),
    ):
        if text == "UPPER/case":
            assert reference.parse(text).domain == "UPPER"  # Docker takes it for a host too
            continue
        with pytest.raises(InvalidArgument) as failure:
            reference.parse(text)
        assert str(failure.value) == words


def test_tags() -> None:
    assert str(reference.parse("a").tagged("v1")) == "docker.io/library/a:v1"
    assert reference.parse("a:v2").whole().tag == "v2"
    with pytest.raises(InvalidArgument, match="invalid tag format"):
        reference.parse("a").tagged("v 1")
    assert reference.is_digest(DIGEST)
    assert not reference.is_digest("sha256:ab")


_WORDS = st.from_regex(r"[a-z0-9]{1,8}(?:(?:_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
_DOMAINS = st.sampled_from(
    ["", "docker.io/", "localhost/", "a.test/", "localhost:5000/", "10.0.0.1:80/", "[::1]:5000/"]
)
_TAGS = st.one_of(st.just(""), st.from_regex(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True))
_DIGESTS = st.one_of(st.just(""), st.from_regex(r"@sha256:[a-f0-9]{64}", fullmatch=True))


@given(_DOMAINS, st.lists(_WORDS, min_size=1, max_size=3), _TAGS, _DIGESTS)
def test_whatever_is_read_is_read_again(domain: str, path: list[str], tag: str, digest: str) -> None:
    """The full name and the familiar one stand for the same, and the parts are those that were written."""
    found = reference.parse(f"{domain}{'/'.join(path)}{tag}{digest}")
    assert reference.parse(str(found)) == found
    assert reference.parse(found.familiar) == found
    assert (found.tag, found.digest) == (tag[1:], digest[1:])
    assert found.path.endswith("/".join(path))
    assert found.whole().tag or found.digest


@given(st.text(max_size=60))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    """What passes has no character that a URL or a path would take for something else."""
    with contextlib.suppress(InvalidArgument):
        found = reference.parse(text)
        assert ".." not in found.path.split("/")
        assert not set(str(found)) & set(" ?#%\\\n\0")
