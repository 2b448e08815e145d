"""How the engine's settings reach the registries: `insecure-registries`, `registry-mirrors` and a directory of hosts.toml.

What dockerd keeps in its own configuration is written as containerd's directories, which go with each transfer, so
that it holds on any manager. They are made when they are asked for and say the same each time.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from hakobune.containerd.client.transfer import Answer, Place
from hakobune.engine.images.credentials import Credentials, is_for
from hakobune.errors import InvalidArgument
from hakobune.registry import repository
from hakobune.registry.repository import Access
from hakobune.spec.reference import DEFAULT_DOMAIN, Reference

CERTS_DIR = "/etc/hakobune/certs.d"


@dataclass(frozen=True, slots=True)
class Registries:
    """`written` is where directories are made, `given` the one that people write."""

    written: str
    given: str = CERTS_DIR
    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()

    def place(self, name: Reference, credentials: Credentials) -> Place:
        """For a transfer."""

        async def ask(host: str) -> Answer:
            if not is_for(host, name.domain):
                return Answer()
            return Answer(credentials.username, credentials.secret, credentials.header)

        return Place(str(name), ask, self.directory(name.domain))

    def access(self, domain: str, credentials: Credentials) -> Access:
        """For the engine's own questions."""

        async def ask(host: str) -> repository.Credentials:
            if not is_for(host, domain):
                return repository.Credentials()
            return repository.Credentials(credentials.username, credentials.secret, credentials.header)

        return Access(ask, self.directory(domain))

    def directory(self, domain: str) -> str:
        """The directory of hosts.toml directories for this registry; "" when there is nothing to say."""
        name = _directory_name(domain)
        if any(os.path.isdir(f"{self.given}/{one}") for one in (name, domain, "_default")):
            return self.given
        text = self._text(domain)
        if not text:
            return ""
        place = f"{self.written}/{name}"
        os.makedirs(place, mode=0o700, exist_ok=True)
        _write(f"{place}/hosts.toml", text)
        return self.written

    def _text(self, domain: str) -> str:
        insecure = is_insecure(domain, self.insecure)
        mirrors = self.mirrors if domain == DEFAULT_DOMAIN else ()
        if not insecure and not mirrors:
            return ""
        server = "https://registry-1.docker.io" if domain == DEFAULT_DOMAIN else f"https://{domain}"
        if insecure:
            server = server.replace("https://", "http://", 1)
        lines = [f"server = {json.dumps(server)}"] + (["skip_verify = true"] if insecure else [])
        for mirror in mirrors:
            lines += [f"[host.{json.dumps(mirror)}]", 'capabilities = ["pull", "resolve"]']
            if is_insecure(urlsplit(mirror).netloc, self.insecure):
                lines.append("skip_verify = true")
        return "\n".join(lines) + "\n"


def _directory_name(domain: str) -> str:
    host, colon, port = domain.rpartition(":")
    return f"{host}_{port}_" if colon else domain


def _write(path: str, text: str) -> None:
    with contextlib.suppress(FileNotFoundError), open(path) as file:
        if file.read() == text:
            return
    fresh = f"{path}.{secrets.token_hex(4)}"
    with open(fresh, "w") as file:
        file.write(text)
    os.rename(fresh, path)


def is_insecure(domain: str, rules: Sequence[str]) -> bool:
    """Whether a rule names this registry: host:port, host, or a network that its address is in."""
    host = urlsplit(f"//{domain}").hostname or ""
    for rule in rules:
        if rule in (domain, host):
            return True
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(host) in ipaddress.ip_network(rule, strict=False):
                return True
    return False


def check_insecure(rule: str) -> str:
    """A rule of `insecure-registries`. Raises InvalidArgument."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_network(rule, strict=False)
        return rule
    try:
        parts = urlsplit(f"//{rule}")
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if "://" in rule or not parts.hostname or parts.path or parts.username is not None:
        raise InvalidArgument(f"insecure registry {rule} is not valid: host[:port] or a network is needed")
    return rule


def check_mirror(text: str) -> str:
    """A URL of `registry-mirrors`. Raises InvalidArgument."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidArgument(f'invalid mirror: "{text}" is not a http or https URL')
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise InvalidArgument(f'invalid mirror: path, query, or fragment at end of the URI "{text}"')
    return text.rstrip("/")
