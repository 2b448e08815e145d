"""Which proxy a request goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, as Go's programs read them. Pure but for the environment."""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from hakobune.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Proxy:
    """`header` is the value of Proxy-Authorization, or ""."""

    host: str
    port: int
    header: str = field(default="", repr=False)


def proxy_for(scheme: str, host: str, port: int, environ: Mapping[str, str] | None = None) -> Proxy | None:
    """None for a direct connection; this machine is never reached through one. Raises InvalidArgument."""
    values = os.environ if environ is None else environ
    name = f"{scheme}_proxy"
    text = values.get(name.upper()) or values.get(name) or ""
    if (
        not text
        or is_loopback(host)
        or _excepted(host, port, values.get("NO_PROXY") or values.get("no_proxy") or "")
    ):
        return None
    return parse(text)


def parse(text: str) -> Proxy:
    """Read `host:port` or `http://user:password@host:port`. Raises InvalidArgument."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port or 80
    except ValueError:
        raise InvalidArgument("the proxy in the environment is not a URL") from None
    if parts.scheme != "http" or not parts.hostname:
        raise InvalidArgument("the proxy in the environment is not a http:// URL")
    header = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        header = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Proxy(parts.hostname, port, header)


def is_loopback(host: str) -> bool:
    """Whether a host, without a port, is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _excepted(host: str, port: int, rules: str) -> bool:
    return any(_fits(rule.strip().lower(), host.lower(), port) for rule in rules.split(",") if rule.strip())


def _fits(rule: str, host: str, port: int) -> bool:
    """`*`, an address, a network, `domain` with all below it, `.domain` with only what is below it; each with `:port`."""
    if rule == "*":
        return True
    name, colon, number = rule.rpartition(":")
    if colon and number.isdigit() and ":" not in name:
        if int(number) != port:
            return False
        rule = name
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.endswith(rule if rule.startswith(".") else f".{rule}") or host == rule
    try:
        return address in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return False
