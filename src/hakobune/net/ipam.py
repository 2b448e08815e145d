"""Addresses: free subnets out of pools, free addresses out of a subnet. Pure functions.

Imports: errors, ipaddress.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, NetmaskValueError

from hakobune.errors import InvalidArgument, PermissionDenied, ResourceExhausted


def parse_subnet(text: str) -> IPv4Network:
    """A subnet as written by a user; bits of the host are dropped. Raises InvalidArgument."""
    try:
        subnet = IPv4Network(text, strict=False)
    except (AddressValueError, NetmaskValueError, ValueError) as err:
        raise InvalidArgument(f"invalid subnet {text}: an IPv4 prefix is wanted") from err
    if subnet.prefixlen > 30:
        raise InvalidArgument(f"invalid subnet {text}: no room for a gateway and a container")
    return subnet


def parse_interface(text: str) -> IPv4Interface:
    """An address with prefix length, such as `--bip`. Raises InvalidArgument."""
    try:
        interface = IPv4Interface(text)
    except (AddressValueError, NetmaskValueError, ValueError) as err:
        raise InvalidArgument(f"invalid address {text}: ADDRESS/PREFIX is wanted") from err
    if "/" not in text or interface.network.prefixlen > 30:
        raise InvalidArgument(f"invalid address {text}: a prefix of at most 30 is wanted")
    return interface


def parse_address(text: str) -> IPv4Address:
    """An IPv4 address. Raises InvalidArgument."""
    try:
        return IPv4Address(text)
    except AddressValueError as err:
        raise InvalidArgument(f"invalid IPv4 address: {text}") from err


def overlapping(subnet: IPv4Network, taken: Iterable[IPv4Network]) -> IPv4Network | None:
    """The first of `taken` that shares an address with `subnet`."""
    return next((other for other in taken if subnet.overlaps(other)), None)


def choose_subnet(pools: Sequence[tuple[str, int]], taken: Collection[IPv4Network]) -> IPv4Network:
    """The first subnet of the pools that nobody uses. Raises ResourceExhausted, InvalidArgument."""
    for base, size in pools:
        pool = parse_subnet(base)
        if size < pool.prefixlen:
            raise InvalidArgument(f"invalid default address pool {base}: size {size} is larger than its base")
        near = [other for other in taken if pool.overlaps(other)]
        for subnet in pool.subnets(new_prefix=size):
            if not overlapping(subnet, near):
                return subnet
    raise ResourceExhausted("all predefined address pools have been fully subnetted")


def choose_gateway(subnet: IPv4Network, wanted: str) -> str:
    """The gateway of a subnet: its first address unless another is wanted. Raises InvalidArgument."""
    if not wanted:
        return str(subnet.network_address + 1)
    address = parse_address(wanted)
    if address not in subnet:
        raise InvalidArgument(f"no matching subnet for gateway {wanted}")
    return str(address)


def choose_address(
    subnet: IPv4Network, used: Collection[str], *, wanted: str = "", ip_range: str = ""
) -> str:
    """The lowest free address, or the wanted one. `used` includes the gateway.

    Raises InvalidArgument (outside the subnet), PermissionDenied (taken), ResourceExhausted.
    """
    if wanted:
        return _claim(subnet, used, wanted)
    area = parse_subnet_of(subnet, ip_range) if ip_range else subnet
    first = max(int(area.network_address), int(subnet.network_address) + 1)
    last = min(int(area.broadcast_address), int(subnet.broadcast_address) - 1)
    taken = {int(IPv4Address(address)) for address in used}
    free = next((number for number in range(first, last + 1) if number not in taken), None)
    if free is None:
        raise ResourceExhausted("no available IPv4 addresses on this network's address pools")
    return str(IPv4Address(free))


def parse_subnet_of(subnet: IPv4Network, text: str) -> IPv4Network:
    """A range within a subnet. Raises InvalidArgument."""
    try:
        area = IPv4Network(text, strict=False)
    except ValueError as err:
        raise InvalidArgument(f"invalid ip range {text}") from err
    if not area.subnet_of(subnet):
        raise InvalidArgument(f"ip range {text} is not within subnet {subnet}")
    return area


def _claim(subnet: IPv4Network, used: Collection[str], wanted: str) -> str:
    address = parse_address(wanted)
    if address not in subnet or address in (subnet.network_address, subnet.broadcast_address):
        raise InvalidArgument(
            f"invalid config for network: invalid endpoint settings: no configured subnet contains IP address {wanted}"
        )
    if str(address) in used:
        raise PermissionDenied("Address already in use")
    return str(address)
