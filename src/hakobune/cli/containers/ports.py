"""`-p` and `--expose`: `[IP:][HOST:]CONTAINER[/PROTOCOL]`, ranges allowed."""

from __future__ import annotations

from ..failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MOST = 65535
_PROTOCOLS = ("tcp", "udp", "sctp")


def published(specs: list[str]) -> dict[str, list[dict[str, Any]]]:
    """`{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`. Raises Failure."""
    found: dict[str, list[dict[str, Any]]] = {}
    for spec in specs:
        for port, binding in _one(spec):
            found.setdefault(port, []).append(binding)
    return found


def exposed(specs: list[str]) -> list[str]:
    """`80`, `80/udp` or `80-90/tcp` as `80/tcp`, … Raises Failure."""
    found = []
    for spec in specs:
        if ":" in spec:
            raise Failure(f"invalid port format for --expose: {spec}")
        ports, protocol = _protocol(spec, spec)
        number = next((part for part in ports.split("-", 1) if not part.isdigit()), ports)
        why = f'error: strconv.ParseUint: parsing "{number}": invalid syntax'
        first, last = _range(ports, f"invalid range format for --expose: {spec}, {why}")
        found += [f"{number}/{protocol}" for number in range(first, last + 1)]
    return found


def _one(spec: str) -> list[tuple[str, dict[str, Any]]]:
    address, host, inside = _split(spec)
    ports, protocol = _protocol(inside, spec)
    if not ports:
        raise Failure(f"no port specified: {spec}<empty>")
    first, last = _range(ports, f"invalid containerPort: {ports}")
    if not host:
        return [(f"{port}/{protocol}", _binding(address, "")) for port in range(first, last + 1)]
    low, high = _range(host, f"invalid hostPort: {host}")
    if first == last and high > low:
        return [(f"{first}/{protocol}", _binding(address, f"{low}-{high}"))]
    if last - first != high - low:
        raise Failure(f"invalid ranges specified for container and host Ports: {ports} and {host}")
    return [(f"{first + n}/{protocol}", _binding(address, str(low + n))) for n in range(last - first + 1)]


def _binding(address: str, port: str) -> dict[str, Any]:
    return {"HostIp": address, "HostPort": port}


def _split(spec: str) -> tuple[str, str, str]:
    """(address, host port, container port)."""
    if spec.startswith("["):
        address, _, rest = spec[1:].partition("]")
        host, _, inside = rest.removeprefix(":").rpartition(":")
        return _checked(address), host, inside
    before, _, inside = spec.rpartition(":")
    address, _, host = before.rpartition(":")
    return _checked(address), host, inside


def _checked(address: str) -> str:
    if not address:
        return ""
    import socket

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.inet_pton(family, address)
    except OSError:
        raise Failure(f"invalid IP address: {address}") from None
    return address


def _protocol(text: str, spec: str) -> tuple[str, str]:
    ports, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash and protocol else "tcp"
    if protocol not in _PROTOCOLS:
        raise Failure(f"invalid proto: {protocol}")
    return ports, protocol


def _range(text: str, wrong: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    try:
        first, last = int(low), int(high if dash else low)
    except ValueError:
        raise Failure(wrong) from None
    if not 0 <= first <= last <= _MOST:
        raise Failure(wrong)
    return first, last
