"""What one engine asks of the packet filter: one table of its own, written whole or element by element.

The table `hakobune-BRIDGE` (family ip) holds

- `ports_any`, `ports_at`: maps from a port of the host (of any address, of one) to a container's address and
  port. The chains `prerouting` and `output` send what is for this host through them. So a published port costs
  one element and no rule, also for connections from the host itself and from 127.0.0.1;
- `postrouting`: containers leave with the host's address. What comes back to a bridge after it was redirected
  is masqueraded too, because the container would answer a neighbour directly: a container that calls a
  published port of its own or of its neighbour, and callers from 127.0.0.1 (the kernel routes such packets out
  by a bridge that has `route_localnet`);
- `forward`: nothing enters a bridge unasked but redirected connections and, if wanted, its own containers;
- `guard`: `route_localnet` would let a neighbour on the wire reach services on 127.0.0.1: dropped.

Other tables and programs are left alone; a drop of theirs stands, whatever is accepted here.
Imports: linux, model.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address

from hakobune.linux import conntrack
from hakobune.linux import nftables as nft
from hakobune.linux.netlink import Netlink
from hakobune.net.model import Network, PublishedPort

_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_DESTINATION = ((nft.TYPE_ADDRESS, 4), (nft.TYPE_PORT, 2))
_PORTS_ANY = nft.Map("ports_any", ((nft.TYPE_PROTOCOL, 1), (nft.TYPE_PORT, 2)), _DESTINATION)
_PORTS_AT = nft.Map(
    "ports_at", ((nft.TYPE_ADDRESS, 4), (nft.TYPE_PROTOCOL, 1), (nft.TYPE_PORT, 2)), _DESTINATION
)
_BRIDGES = nft.Map("bridges", ((nft.TYPE_IFNAME, 16),))
_IIF, _OIF = nft.META_IIFNAME, nft.META_OIFNAME
_SOURCE, _DESTINATION_OFFSET = 12, 16  # of the IPv4 header
_LOOPBACK, _LOOPBACK_MASK = b"\x7f\0\0\0", b"\xff\0\0\0"


def table_name(bridge: str) -> str:
    """The engine's table: named by its default bridge, which no other engine has."""
    return f"hakobune-{bridge}"


class Rules:
    """The table of one engine. All methods raise NetlinkError (an OSError) and change all or nothing."""

    def __init__(self, netlink: Netlink, bridge: str) -> None:
        self._netlink = netlink
        self.table = table_name(bridge)

    def rebuild(self, networks: Iterable[Network], ports: Iterable[PublishedPort]) -> None:
        """Replace the table, at once: no packet sees a half of it, and open connections go on."""
        table = nft.Table(self.table)
        table.renew()
        bridged = [network for network in networks if network.bridge_name]
        for shape in (_PORTS_ANY, _PORTS_AT, _BRIDGES):
            table.map(shape)
        _publish(table)
        _postrouting(table, bridged)
        _forward(table, bridged)
        _guard(table)
        table.put("bridges", [(network.bridge_name.encode().ljust(16, b"\0"), b"") for network in bridged])
        for name, elements in _elements(ports).items():
            table.put(name, elements)
        table.commit(self._netlink)

    def open(self, ports: Sequence[PublishedPort]) -> None:
        """Lead these ports to their containers."""
        table = nft.Table(self.table)
        for name, elements in _elements(ports).items():
            table.put(name, elements)
        table.commit(self._netlink)
        self._forget_flows(ports)

    def shut(self, ports: Sequence[PublishedPort]) -> None:
        """Lead them nowhere. A port that is not led anywhere is refused with ENOENT."""
        table = nft.Table(self.table)
        for name, elements in _elements(ports).items():
            table.drop(name, elements)
        table.commit(self._netlink)
        self._forget_flows(ports)

    def _forget_flows(self, ports: Iterable[PublishedPort]) -> None:
        """Callers that keep sending would go on to where the port led before."""
        if numbers := {port.host_port for port in ports if port.protocol == "udp"}:
            conntrack.forget_udp(self._netlink, numbers)

    def remove(self) -> None:
        """Take the table away; none is fine."""
        table = nft.Table(self.table)
        table.create()
        table.delete()
        table.commit(self._netlink)


def _elements(ports: Iterable[PublishedPort]) -> dict[str, list[tuple[bytes, bytes]]]:
    found: dict[str, list[tuple[bytes, bytes]]] = defaultdict(list)
    for port in ports:
        protocol = bytes([_PROTOCOLS[port.protocol], 0, 0, 0])
        key = protocol + struct.pack("!HH", port.host_port, 0)
        data = IPv4Address(port.ip).packed + struct.pack("!HH", port.port, 0)
        address = IPv4Address(port.host_ip)
        if address.is_unspecified:
            found[_PORTS_ANY.name].append((key, data))
        else:
            found[_PORTS_AT.name].append((address.packed + key, data))
    return found


def _publish(table: nft.Table) -> None:
    r = nft.REGISTER
    table.chain("publish")
    port = nft.payload(nft.TRANSPORT_HEADER, 2, 2, r[2])
    address = nft.payload(nft.NETWORK_HEADER, _DESTINATION_OFFSET, 4, r[0])
    table.rule(
        "publish",
        address, nft.meta(nft.META_L4PROTO, r[1]), port,
        nft.lookup("ports_at", r[0], r[4]), nft.dnat(r[4], r[5]),
    )  # fmt: skip
    table.rule(
        "publish",
        nft.meta(nft.META_L4PROTO, r[1]), port,
        nft.lookup("ports_any", r[1], r[4]), nft.dnat(r[4], r[5]),
    )  # fmt: skip
    for name, hook in (("prerouting", nft.HOOK_PREROUTING), ("output", nft.HOOK_OUTPUT)):
        table.base_chain(name, kind="nat", hook=hook, priority=-100)
        table.rule(name, *nft.local_destination(), nft.verdict(nft.JUMP, "publish"))


def _postrouting(table: nft.Table, networks: Iterable[Network]) -> None:
    table.base_chain("postrouting", kind="nat", hook=nft.HOOK_POSTROUTING, priority=100)
    for network in networks:
        out = nft.interface(_OIF, network.bridge_name)
        subnet, netmask = network.range.network_address.packed, network.range.netmask.packed
        inside = nft.within(_SOURCE, subnet, netmask)
        redirected = nft.has(nft.CT_STATUS, nft.STATUS_DNAT)
        table.rule("postrouting", *out, *inside, *redirected, nft.masquerade())
        table.rule("postrouting", *out, *nft.within(_SOURCE, _LOOPBACK, _LOOPBACK_MASK), nft.masquerade())
        if network.masquerade:
            elsewhere = nft.interface(_OIF, network.bridge_name, nft.NEQ)
            table.rule("postrouting", *inside, *elsewhere, nft.masquerade())


def _forward(table: nft.Table, networks: Sequence[Network]) -> None:
    accept, drop = nft.verdict(nft.ACCEPT), nft.verdict(nft.DROP)
    table.base_chain("forward", kind="filter", hook=nft.HOOK_FORWARD, priority=0)
    for network in networks:
        inward, outward = nft.interface(_IIF, network.bridge_name), nft.interface(_OIF, network.bridge_name)
        if network.internal:
            table.rule("forward", *inward, *nft.interface(_OIF, network.bridge_name, nft.NEQ), drop)
            table.rule("forward", *outward, *nft.interface(_IIF, network.bridge_name, nft.NEQ), drop)
    known = nft.has(nft.CT_STATE, nft.STATE_ESTABLISHED | nft.STATE_RELATED)
    table.rule("forward", *known, accept)
    table.rule("forward", *nft.has(nft.CT_STATUS, nft.STATUS_DNAT), accept)
    for network in networks:
        inward, outward = nft.interface(_IIF, network.bridge_name), nft.interface(_OIF, network.bridge_name)
        table.rule("forward", *inward, *outward, accept if network.icc else drop)
    table.rule("forward", nft.meta(_OIF), nft.lookup("bridges"), drop)
    table.rule("forward", nft.meta(_IIF), nft.lookup("bridges"), accept)


def _guard(table: nft.Table) -> None:
    """Before connections are looked up: answers to 127.0.0.1 still carry the bridge's address here."""
    table.base_chain("guard", kind="filter", hook=nft.HOOK_PREROUTING, priority=-300)
    foreign = nft.interface(_IIF, "lo", nft.NEQ)
    for offset in (_SOURCE, _DESTINATION_OFFSET):
        table.rule("guard", *foreign, *nft.within(offset, _LOOPBACK, _LOOPBACK_MASK), nft.verdict(nft.DROP))
