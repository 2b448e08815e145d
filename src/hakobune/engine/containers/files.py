"""The three files that Docker lends to each container: /etc/hostname, /etc/hosts and /etc/resolv.conf.

They lie in the container's directory on the host and are bound over the image's own. Imports: os.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hakobune.engine.containers.model import Container

_HOSTS = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)


def write(
    directory: str,
    container: Container,
    addresses: Sequence[tuple[str, Iterable[str]]],
    gateway: str,
    resolv: str,
) -> dict[str, str]:
    """Write all three; returns path in the container -> path on the host.

    `addresses` are (ip, further names) of its endpoints; `gateway` stands for `host-gateway`; `resolv` is the
    text of resolv.conf. Raises OSError.
    """
    config, host = container.config, container.host
    texts = {
        "hostname": f"{config['Hostname']}\n",
        "hosts": _hosts(config, host["ExtraHosts"] or (), addresses, gateway),
        "resolv.conf": resolv,
    }
    for name, text in texts.items():
        _replace(f"{directory}/{name}", text)
    return {f"/etc/{name}": f"{directory}/{name}" for name in texts}


def _hosts(
    config: Mapping[str, Any],
    extra: Iterable[str],
    addresses: Sequence[tuple[str, Iterable[str]]],
    gateway: str,
) -> str:
    lines = [_HOSTS]
    for entry in extra:
        name, _, address = entry.replace("=", ":", 1).partition(":")
        lines.append(f"{gateway if address == 'host-gateway' else address}\t{name}\n")
    name = config["Hostname"]
    full = f"{name}.{config['Domainname']} {name}" if config["Domainname"] else name
    for address, aliases in addresses:
        lines.append(f"{address}\t{' '.join([full, *aliases])}\n")
    return "".join(lines)


def resolv_conf(host_text: str, host: Mapping[str, Any], *, isolated: bool) -> str:
    """resolv.conf for a container: the host's, changed by --dns, --dns-search and --dns-opt.

    `isolated` containers (a network namespace of their own) cannot reach a resolver on the host's loopback:
    such lines are left out.
    """
    nameservers, searches, options = [], [], []
    for line in host_text.splitlines():
        words = line.split()
        if len(words) < 2 or line.lstrip().startswith(("#", ";")):
            continue
        if words[0] == "nameserver" and not (isolated and words[1].startswith(("127.", "::1"))):
            nameservers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = words[1:]
        elif words[0] == "options":
            options += words[1:]
    nameservers = list(host["Dns"]) or nameservers
    searches = [] if host["DnsSearch"] == ["."] else list(host["DnsSearch"]) or searches
    options = list(host["DnsOptions"]) or options
    lines = [f"nameserver {address}\n" for address in nameservers]
    lines += [f"search {' '.join(searches)}\n"] if searches else []
    lines += [f"options {' '.join(options)}\n"] if options else []
    return "".join(lines)


def _replace(path: str, text: str) -> None:
    """In place, so that a running container sees it too: its bind mount holds the inode."""
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o644)
