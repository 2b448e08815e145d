"""Credentials as Docker's clients send them: X-Registry-Auth, X-Registry-Config, the body of /auth. Pure.

They are given to the registry that they are for and to no other host, whoever asks.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hakobune.errors import InvalidArgument
from hakobune.spec.reference import DEFAULT_DOMAIN

_HUB = frozenset(("index.docker.io", "registry-1.docker.io", DEFAULT_DOMAIN))


@dataclass(frozen=True, slots=True)
class Credentials:
    """`header` is a whole Authorization value; `secret` without a `username` is an identity token."""

    username: str = ""
    secret: str = field(default="", repr=False)
    header: str = field(default="", repr=False)
    server: str = ""


NONE = Credentials()


def of_request(headers: Mapping[str, str], domain: str) -> Credentials:
    """What a request has for a registry. Raises InvalidArgument for a header that cannot be read."""
    text = headers.get("x-registry-auth", "")
    if text:
        return read(_decoded(text, "X-Registry-Auth"))
    text = headers.get("x-registry-config", "")
    every = _decoded(text, "X-Registry-Config") if text else {}
    for server, one in every.items():
        if domain_of(server) == domain and isinstance(one, dict):
            return read(one)
    return NONE


def _decoded(text: str, name: str) -> dict[str, Any]:
    """JSON in base64, of either alphabet, with or without its padding."""
    try:
        bare = text.replace("-", "+").replace("_", "/").rstrip("=")
        plain = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
        found = json.loads(plain) if plain.strip() else {}
    except (binascii.Error, ValueError, RecursionError):
        raise InvalidArgument(f"invalid {name} header: it is not JSON in base64") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidArgument(f"invalid {name} header: a JSON object is needed")
    return found


def read(document: Mapping[str, Any]) -> Credentials:
    """Of an AuthConfig of the API. Raises InvalidArgument."""
    values = {name: document.get(name) or "" for name in
              ("username", "password", "auth", "serveraddress", "identitytoken", "registrytoken")}  # fmt: skip
    if not all(isinstance(value, str) for value in values.values()):
        raise InvalidArgument("invalid credentials: texts are needed")
    server = values["serveraddress"]
    if values["registrytoken"]:
        return Credentials(header=f"Bearer {values['registrytoken']}", server=server)
    if values["identitytoken"]:
        return Credentials(secret=values["identitytoken"], server=server)
    username, password = values["username"], values["password"]
    if not username and values["auth"]:
        try:
            username, _, password = base64.b64decode(values["auth"], validate=True).decode().partition(":")
        except ValueError:
            raise InvalidArgument("invalid credentials: auth is not base64") from None
    return Credentials(username, password, server=server)


def domain_of(server: str) -> str:
    """The registry that an address stands for: `https://index.docker.io/v1/` is docker.io."""
    host = server.partition("://")[2] if "://" in server else server
    host = host.partition("/")[0]
    return DEFAULT_DOMAIN if not host or host in _HUB else host


def is_for(host: str, domain: str) -> bool:
    """Whether a host that asks is the registry `domain` itself."""
    return host == domain or (domain == DEFAULT_DOMAIN and host in _HUB)
