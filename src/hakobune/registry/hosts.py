"""Where a registry is asked: containerd's `hosts.toml` directories, and what holds without one.

`<dir>/<host>/hosts.toml`, `<host>_<port>_` for one with a port, `_default` for all others; a directory without that file
may have Docker's `*.crt` (authorities), `*.cert` with `*.key` (ours). Mirrors come first, the registry itself last.
Source: containerd, docs/hosts.md. Imports: errors, tomllib.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from hakobune.errors import InvalidArgument
from hakobune.registry.http import Tls
from hakobune.registry.proxies import is_loopback

PULL, RESOLVE, PUSH = "pull", "resolve", "push"
EVERYTHING = frozenset((PULL, RESOLVE, PUSH))
_DOCKER_HUB = {"docker.io": "registry-1.docker.io"}


@dataclass(frozen=True, slots=True)
class Host:
    """One place. `base` is a URL up to `/v2`; `fallback`: plain http when the other side does not speak TLS."""

    base: str
    tls: Tls = field(default_factory=Tls)
    capabilities: frozenset[str] = EVERYTHING
    headers: Mapping[str, str] = field(default_factory=dict)
    fallback: bool = False
    mirror: bool = False

    @property
    def name(self) -> str:
        """host:port, as credentials are asked for."""
        return urlsplit(self.base).netloc


def hosts_of(domain: str, directory: str = "", default_scheme: str = "") -> list[Host]:
    """Where `domain` is to be asked, in this order. Raises InvalidArgument for a file that is wrong."""
    place = _directory(directory, domain)
    itself = _default(domain, default_scheme)
    if not place:
        return [itself]
    path = f"{place}/hosts.toml"
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except FileNotFoundError:
        return [_with_files(itself, place)]
    except (OSError, tomllib.TOMLDecodeError) as err:
        raise InvalidArgument(f"registry configuration {path}: {err}") from err
    return _read(document, path, itself)


def _directory(root: str, domain: str) -> str:
    if not root:
        return ""
    host, colon, port = domain.rpartition(":")
    names = ([f"{host}_{port}_"] if colon else []) + [domain, "_default"]
    return next((f"{root}/{name}" for name in names if os.path.isdir(f"{root}/{name}")), "")


def _default(domain: str, scheme: str) -> Host:
    """https; a registry on this machine may do without, and is not asked who it is."""
    name = _DOCKER_HUB.get(domain, domain)
    if scheme or not is_here(name):
        return Host(f"{scheme or 'https'}://{name}/v2")
    port = name.rpartition(":")[2]
    if port == "80":
        return Host(f"http://{name}/v2")
    return Host(f"https://{name}/v2", Tls(skip_verify=True), fallback=port != "443" and ":" in name)


def is_here(name: str) -> bool:
    """Whether host[:port] is this machine's loopback."""
    try:
        host = urlsplit(f"//{name}").hostname or ""
    except ValueError:
        return False
    return is_loopback(host)


def _with_files(host: Host, place: str) -> Host:
    names = sorted(os.listdir(place))
    authorities = tuple(f"{place}/{name}" for name in names if name.endswith(".crt"))
    pairs = tuple(
        (f"{place}/{name}", f"{place}/{name.removesuffix('.cert')}.key")
        for name in names
        if name.endswith(".cert")
    )
    return Host(host.base, Tls(authorities, pairs)) if authorities or pairs else host


def _read(document: dict[str, Any], path: str, itself: Host) -> list[Host]:
    listed = document.get("host", {})
    if not isinstance(listed, dict) or not all(isinstance(one, dict) for one in listed.values()):
        raise InvalidArgument(f"registry configuration {path}: [host] is not a table of tables")
    found = [_host(url, settings, path, mirror=True) for url, settings in listed.items()]
    server = document.get("server", "")
    if server:
        found.append(_host(str(server), document, path))
    else:
        settings = _settings(document, path)
        plain = settings.tls == Tls()
        found.append(Host(
            itself.base, itself.tls if plain else settings.tls, settings.capabilities, settings.headers, itself.fallback,
        ))  # fmt: skip
    return found


def _host(text: str, document: Mapping[str, Any], path: str, *, mirror: bool = False) -> Host:
    url = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidArgument(f"registry configuration {path}: {text!r} is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise InvalidArgument(f"registry configuration {path}: {text!r} is not a http or https URL")
    root = parts.path.rstrip("/")
    if not document.get("override_path") and not root.endswith("/v2"):
        root += "/v2"
    settings = _settings(document, path)
    scheme, fallback = parts.scheme, False
    if (
        scheme == "http" and settings.tls != Tls() and port != 80
    ):  # containerd tries TLS first when it is set up
        scheme, fallback = "https", True
    return Host(
        f"{scheme}://{parts.netloc}{root}",
        settings.tls,
        settings.capabilities,
        settings.headers,
        fallback,
        mirror,
    )


def _settings(document: Mapping[str, Any], path: str) -> Host:
    """What a table says, as a Host without a place."""
    capabilities = frozenset(str(one).lower() for one in document.get("capabilities") or EVERYTHING)
    if not capabilities <= EVERYTHING:
        unknown = ", ".join(sorted(capabilities - EVERYTHING))
        raise InvalidArgument(f"registry configuration {path}: unknown capability {unknown}")
    place = os.path.dirname(path)
    tls = Tls(
        tuple(os.path.join(place, one) for one in _texts(document.get("ca"), "ca", path)),
        tuple(_pairs(document.get("client"), place, path)),
        bool(document.get("skip_verify", False)),
    )
    headers = document.get("header", {})
    if not isinstance(headers, dict):
        raise InvalidArgument(f"registry configuration {path}: header is not a table")
    return Host("", tls, capabilities, {
        str(name): ", ".join(_texts(value, f"header {name}", path)) for name, value in headers.items()
    })  # fmt: skip


def _texts(value: Any, what: str, path: str) -> list[str]:
    found = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InvalidArgument(f"registry configuration {path}: {what} is neither a text nor a list of texts")
    return found


def _pairs(value: Any, place: str, path: str) -> Iterable[tuple[str, str]]:
    for one in [] if value is None else [value] if isinstance(value, str) else value:
        names = [one] if isinstance(one, str) else one
        if (
            not isinstance(names, list)
            or not 1 <= len(names) <= 2
            or not all(isinstance(name, str) for name in names)
        ):
            raise InvalidArgument(f"registry configuration {path}: client is not a list of pairs of files")
        certificate, key = [os.path.join(place, name) for name in names] if len(names) == 2 else (
            os.path.join(place, names[0]), "")  # fmt: skip
        yield certificate, key
