"""Names of images: `alpine`, `user/app:1.2`, `host:5000/app@sha256:…`, short as people write them and in full.

In full a name has a registry's domain, a path and a tag or digest: `docker.io/library/alpine:latest`.
Imports: errors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from hakobune.errors import InvalidArgument

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library"
_MOST_NAME = 255
_MOST_PARSED = 4096  # names that are remembered: each list of images reads all of theirs

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<domain>{_DOMAIN})/(?P<path>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")
_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}


@dataclass(frozen=True, slots=True)
class Reference:
    """A checked name; `tag` and `digest` may be empty."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Domain and path: docker.io/library/alpine."""
        return f"{self.domain}/{self.path}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def familiar_name(self) -> str:
        """The name as people write it, without tag and digest: alpine."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        head, slash, rest = self.path.partition("/")
        return rest if slash and head == _OFFICIAL and "/" not in rest else self.path

    @property
    def familiar(self) -> str:
        """As people write it: alpine:latest."""
        return str(self).replace(self.name, self.familiar_name, 1)

    def tagged(self, tag: str = DEFAULT_TAG) -> Reference:
        """With this tag in place of the one it has. Raises InvalidArgument."""
        if not _TAG.fullmatch(tag):
            raise InvalidArgument(f"invalid tag format: {tag!r}")
        return replace(self, tag=tag)

    def whole(self) -> Reference:
        """Itself, with the default tag when it has neither tag nor digest."""
        return self if self.tag or self.digest else self.tagged()


@lru_cache(maxsize=_MOST_PARSED)
def parse(text: str) -> Reference:
    """Read a name in any of its forms. Raises InvalidArgument (`invalid reference format`)."""
    if _IDENTIFIER.fullmatch(text):
        raise InvalidArgument(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, rest = _split(text)
    match = _REFERENCE.fullmatch(f"{domain}/{rest}")
    if match is None:
        raise InvalidArgument(_why_not(rest))
    found = Reference(match["domain"], match["path"], match["tag"] or "", match["digest"] or "")
    if len(found.path) > _MOST_NAME:
        raise InvalidArgument(f"repository name must not be more than {_MOST_NAME} characters")
    if found.digest:
        check_digest(found.digest)
    return found


def _split(text: str) -> tuple[str, str]:
    """(domain, path with tag and digest): a first part counts as a domain when it cannot be a path."""
    head, slash, rest = text.partition("/")
    named = slash and (set(head) & set(".:[") or head == "localhost" or head.lower() != head)
    domain, rest = (head, rest) if named else (DEFAULT_DOMAIN, text)
    if domain in (DEFAULT_DOMAIN, _LEGACY_DOMAIN):
        domain = DEFAULT_DOMAIN
        if rest and "/" not in rest:
            rest = f"{_OFFICIAL}/{rest}"
    return domain, rest


def _why_not(rest: str) -> str:
    path = rest.partition("@")[0]
    head, colon, tag = path.rpartition(":")
    if colon and "/" not in tag:
        path = head
    if path and path != path.lower() and re.fullmatch(rf"{_PART}(?:/{_PART})*", path.lower()):
        shown = path.removeprefix(f"{_OFFICIAL}/")
        return f"invalid reference format: repository name ({shown}) must be lowercase"
    return "invalid reference format"


def check_digest(digest: str) -> str:
    """The digest itself. Raises InvalidArgument."""
    algorithm, _, value = digest.partition(":")
    if algorithm not in _LENGTHS:
        raise InvalidArgument("unsupported digest algorithm")
    if len(value) != _LENGTHS[algorithm]:
        raise InvalidArgument("invalid checksum digest length")
    if value != value.lower() or not re.fullmatch(r"[a-f0-9]+", value):
        raise InvalidArgument("invalid checksum digest format")
    return digest


def is_digest(text: str) -> bool:
    """Whether this is a whole sha256 digest, as images have for an id."""
    return _DIGEST.fullmatch(text) is not None
