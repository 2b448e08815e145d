"""Names of images: `[host[:port]/]path[:tag][@digest]`, short as people write them, full as they are stored.

Grammar: distribution/reference. Docker's shorthand: no host means docker.io, one word means library/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hakobune.errors import InvalidArgument

DEFAULT_HOST = "docker.io"
DEFAULT_TAG = "latest"
_OFFICIAL = "library"

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_HOST = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed name. `tag` is empty only when a digest stands instead."""

    host: str
    path: str
    tag: str
    digest: str

    @property
    def repository(self) -> str:
        """As it is stored: `docker.io/library/nginx`."""
        return f"{self.host}/{self.path}"

    @property
    def full(self) -> str:
        """As it is stored, with its tag or digest."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"

    @property
    def familiar(self) -> str:
        """As people write the repository: `nginx`, `hako/starter`."""
        if self.host != DEFAULT_HOST:
            return self.repository
        return self.path.removeprefix(f"{_OFFICIAL}/") if self.path.count("/") == 1 else self.path

    @property
    def short(self) -> str:
        """As people write it, with its tag or digest."""
        return f"{self.familiar}@{self.digest}" if self.digest else f"{self.familiar}:{self.tag}"


def parse(text: str) -> Reference:
    """Raises InvalidArgument with Docker's words."""
    name, _, digest = text.partition("@")
    if digest and not _DIGEST.fullmatch(digest):
        raise InvalidArgument(f"invalid reference format: {text!r}")
    last = name.rpartition("/")[2]
    tag = ""
    if ":" in last:
        name, _, tag = name.rpartition(":")
        if not _TAG.fullmatch(tag):
            raise InvalidArgument(f"invalid reference format: {text!r}: the tag {tag!r} is not valid")
    host, path = _split(name)
    if path != path.lower():
        raise InvalidArgument("invalid reference format: repository name must be lowercase")
    if not _PATH.fullmatch(path) or not _HOST.fullmatch(host) or len(path) > 255:
        raise InvalidArgument(f"invalid reference format: {text!r}")
    return Reference(host, path, tag or ("" if digest else DEFAULT_TAG), digest)


def _split(name: str) -> tuple[str, str]:
    first, found, rest = name.partition("/")
    if found and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        host, path = first, rest
    else:
        host, path = DEFAULT_HOST, name
    if host in ("docker.io", "index.docker.io") and "/" not in path:
        path = f"{_OFFICIAL}/{path}"
    return (DEFAULT_HOST if host == "index.docker.io" else host), path
