"""Ports of the host, held by sockets of ours: nobody else can bind them, and a port in use is found out.

Packets never reach these sockets: the rules redirect them before. Imports: errors, model.
"""

from __future__ import annotations

import errno
import os
import socket
from ipaddress import AddressValueError, IPv4Address

from hakobune.errors import Internal, InvalidArgument, Unimplemented
from hakobune.net.model import PortBinding

_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, 132),  # IPPROTO_SCTP
}


def check(binding: PortBinding) -> None:
    """Refuse what can never be published. Raises InvalidArgument, Unimplemented."""
    if binding.protocol not in _KINDS:
        raise InvalidArgument(f"invalid protocol: {binding.protocol}")
    if not 0 < binding.container_port < 65536:
        raise InvalidArgument(f"invalid container port: {binding.container_port}")
    if not 0 <= binding.host_port < 65536 or not 0 <= binding.host_port_end < 65536:
        raise InvalidArgument(f"invalid host port: {binding.host_port}")
    if ":" in binding.host_ip:
        raise Unimplemented(f"ports on IPv6 addresses are not published yet: {binding.host_ip}")
    if binding.host_ip:
        try:
            IPv4Address(binding.host_ip)
        except AddressValueError as err:
            raise InvalidArgument(f"invalid host address: {binding.host_ip}") from err


def hold(binding: PortBinding, host_ip: str, *, ip: str, endpoint: str) -> tuple[socket.socket, int]:
    """Bind the port, or the first free one of the range, or any; returns the socket and the number.

    `ip` and `endpoint` (container's name and endpoint id) are for the sentence of the error. Raises Internal
    as Docker does, in its words.
    """
    last = max(binding.host_port, binding.host_port_end)
    problem: OSError | None = None
    for port in range(binding.host_port, last + 1):
        try:
            return bind(binding.protocol, host_ip, port)
        except OSError as err:
            problem = err
            if err.errno != errno.EADDRINUSE:
                break
    assert problem is not None
    words = os.strerror(problem.errno or errno.EIO)
    wanted = f"{binding.host_port}" if last == binding.host_port else f"{binding.host_port}-{last}"
    raise Internal(
        f"driver failed programming external connectivity on endpoint {endpoint}: failed to bind host port for "
        f"{host_ip}:{wanted}:{ip}:{binding.container_port}/{binding.protocol}: {words[0].lower()}{words[1:]}"
    ) from problem


def bind(protocol: str, host_ip: str, port: int) -> tuple[socket.socket, int]:
    """A socket that holds the port (0: any free one), and its number. Raises OSError."""
    kind, number = _KINDS[protocol]
    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC, number)
    try:
        if kind == socket.SOCK_STREAM:
            # Connections of an earlier owner in TIME_WAIT do not count; a listener does, so listen.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        sock.bind((host_ip, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(0)
    except OSError:
        sock.close()
        raise
    return sock, int(sock.getsockname()[1])
