"""rtnetlink: links, addresses, routes and neighbours as requests for a `Netlink` socket.

Each function builds one message; none sends it. Numbers: <linux/rtnetlink.h>, <linux/if_link.h>,
<linux/if_addr.h>, <linux/veth.h>. IPv4 only. Imports: netlink.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from hakobune.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    Netlink,
    Reply,
    Value,
    attributes,
    parse,
)

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_SETLINK = 16, 17, 18, 19
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_RTM_DELNEIGH = 29

# <linux/if_link.h>
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_IFALIAS = 1, 3, 4, 10, 18, 20
_IFLA_NET_NS_FD, _IFLA_EXT_MASK = 28, 29
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_INFO_PEER = 1
_IFLA_BRPORT_MODE, _IFLA_BRPORT_ISOLATED = 4, 33  # MODE: hairpin

_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_IFA_F_PERMANENT, _RT_SCOPE_UNIVERSE = 0x80, 0
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 5, 6, 15
_NDA_DST = 1
_RT_TABLE_MAIN, _RT_TABLE_LOCAL, _RTPROT_BOOT, _RT_SCOPE_UNIVERSE, _RTN_UNICAST = 254, 255, 3, 0, 1

_BRIEF: tuple[int, Value] = (_IFLA_EXT_MASK, 1 << 3)  # RTEXT_FILTER_SKIP_STATS

IFF_UP = 1
LOOPBACK = 1  # the index of `lo` in every namespace

_GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.ESRCH})


@dataclass(frozen=True, slots=True)
class Link:
    """A network device. `master` is the index of its bridge, 0 for none."""

    index: int
    name: str
    flags: int
    kind: str = ""
    alias: str = ""
    master: int = 0
    mtu: int = 0
    mac: str = ""

    @property
    def up(self) -> bool:
        """Whether it was switched on."""
        return bool(self.flags & IFF_UP)


@dataclass(frozen=True, slots=True)
class Veth:
    """A pair: `name` on the bridge `master` here, `peer` in the namespace `netns` (a descriptor)."""

    name: str
    master: int
    peer: str
    netns: int
    mac: str
    mtu: int


def _link(index: int, up: bool | None, pairs: list[tuple[int, Value]]) -> bytes:
    """struct ifinfomsg and its attributes; `up` None leaves the flag alone."""
    flags, change = (0, 0) if up is None else (int(up), IFF_UP)
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, change) + attributes(pairs)


def mac_bytes(mac: str) -> bytes:
    """Six bytes of a MAC address. Raises ValueError."""
    raw = bytes.fromhex(mac.replace(":", "").replace("-", ""))
    if len(raw) != 6:
        raise ValueError(f"invalid MAC address: {mac}")
    return raw


# --- links ----------------------------------------------------------------------------------------


def add_bridge(name: str, *, mac: str, mtu: int) -> Message:
    """A bridge, not up yet. A name that is taken is refused with EEXIST."""
    pairs: list[tuple[int, Value]] = [
        (_IFLA_IFNAME, name),
        (_IFLA_ADDRESS, mac_bytes(mac)),
        (_IFLA_MTU, mtu),
        (_IFLA_LINKINFO, [(_IFLA_INFO_KIND, "bridge")]),
    ]
    return Message(_RTM_NEWLINK, _link(0, None, pairs), NLM_F_CREATE | NLM_F_EXCL, f"bridge {name}")


def set_alias(name: str, alias: str) -> Message:
    """The text that `ip link` shows as the device's alias. The kernel does not take it with a new link."""
    pairs: list[tuple[int, Value]] = [(_IFLA_IFNAME, name), (_IFLA_IFALIAS, alias.encode())]
    return Message(_RTM_SETLINK, _link(0, None, pairs), 0, f"alias of {name}")


def add_veth(veth: Veth) -> Message:
    """The pair, each end where it belongs and under its last name; this end up, the other still down."""
    peer = _link(0, None, [
        (_IFLA_IFNAME, veth.peer),
        (_IFLA_NET_NS_FD, veth.netns),
        (_IFLA_ADDRESS, mac_bytes(veth.mac)),
        (_IFLA_MTU, veth.mtu),
    ])  # fmt: skip
    info: list[tuple[int, Value]] = [
        (_IFLA_INFO_KIND, "veth"),
        (_IFLA_INFO_DATA, [(_VETH_INFO_PEER, peer)]),
    ]
    pairs: list[tuple[int, Value]] = [
        (_IFLA_IFNAME, veth.name),
        (_IFLA_MASTER, veth.master),
        (_IFLA_MTU, veth.mtu),
        (_IFLA_LINKINFO, info),
    ]
    return Message(_RTM_NEWLINK, _link(0, True, pairs), NLM_F_CREATE | NLM_F_EXCL, f"veth {veth.name}")


def set_port(name: str, *, isolated: bool) -> Message:
    """Order a bridge's port: it sends back where a frame came from (a container that calls its own published
    port); `isolated` ports reach the bridge but not each other."""
    options: list[tuple[int, Value]] = [
        (_IFLA_BRPORT_MODE, b"\1"),
        (_IFLA_BRPORT_ISOLATED, bytes([isolated])),
    ]
    slave: list[tuple[int, Value]] = [(_IFLA_INFO_SLAVE_KIND, "bridge"), (_IFLA_INFO_SLAVE_DATA, options)]
    pairs: list[tuple[int, Value]] = [(_IFLA_IFNAME, name), (_IFLA_LINKINFO, slave)]
    return Message(_RTM_NEWLINK, _link(0, None, pairs), 0, f"bridge port {name}")


def set_up(index: int) -> Message:
    """Switch a device on."""
    return Message(_RTM_SETLINK, _link(index, True, []), 0, f"link {index} up")


def set_mtu(index: int, mtu: int) -> Message:
    """MTU in bytes."""
    return Message(_RTM_SETLINK, _link(index, None, [(_IFLA_MTU, mtu)]), 0, f"mtu of link {index}")


def delete_link(name: str) -> Message:
    """Take a device away; one that is gone already is fine."""
    return Message(_RTM_DELLINK, _link(0, None, [(_IFLA_IFNAME, name)]), 0, f"link {name}", _GONE)


def release_link(name: str) -> Message:
    """Take a device off its bridge and switch it off; one that is gone already is fine.

    Deleting a veth waits for the whole machine's readers (some 25 ms); this does not, and its namespace's
    end deletes it in the background.
    """
    pairs: list[tuple[int, Value]] = [(_IFLA_IFNAME, name), (_IFLA_MASTER, 0)]
    return Message(_RTM_SETLINK, _link(0, False, pairs), 0, f"link {name}", _GONE)


def find_link(netlink: Netlink, name: str) -> Link | None:
    """A device by name, or None. Raises NetlinkError."""
    request = Message(_RTM_GETLINK, _link(0, None, [(_IFLA_IFNAME, name), _BRIEF]), 0, f"link {name}", _GONE)
    replies = netlink.run([request])
    return _read_link(replies[0]) if replies else None


def settle(name: str) -> Message:
    """Ask for a device, so that a change of its carrier takes effect now and not in the background (Linux 6.8).

    Until it has, a bridge drops what goes to a new port, and the next try of ARP comes a second later.
    """
    return Message(_RTM_GETLINK, _link(0, None, [(_IFLA_IFNAME, name), _BRIEF]), 0, f"link {name}")


def list_links(netlink: Netlink) -> list[Link]:
    """All devices of the namespace. Raises NetlinkError."""
    return [
        _read_link(reply)
        for reply in netlink.dump(Message(_RTM_GETLINK, _link(0, None, [_BRIEF]), 0, "links"))
    ]


def _read_link(reply: Reply) -> Link:
    index, flags = struct.unpack_from("=iI", reply.body, 4)
    found = parse(reply.body, 16)
    info = parse(found.get(_IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=_text(found.get(_IFLA_IFNAME, b"")),
        flags=flags,
        kind=_text(info.get(_IFLA_INFO_KIND, b"")),
        alias=_text(found.get(_IFLA_IFALIAS, b"")),
        master=_u32(found.get(_IFLA_MASTER)),
        mtu=_u32(found.get(_IFLA_MTU)),
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
    )


# --- addresses, routes, neighbours ----------------------------------------------------------------


def add_address(index: int, address: IPv4Interface, *, broadcast: bool = True) -> Message:
    """Give a device an address; one that it has already is fine."""
    body = struct.pack("=BBBBI", socket.AF_INET, address.network.prefixlen, 0, 0, index)
    pairs: list[tuple[int, Value]] = [(_IFA_LOCAL, address.ip.packed), (_IFA_ADDRESS, address.ip.packed)]
    if broadcast:
        pairs.append((_IFA_BROADCAST, address.network.broadcast_address.packed))
    flags = NLM_F_CREATE | NLM_F_EXCL
    return Message(
        _RTM_NEWADDR, body + attributes(pairs), flags, f"address {address}", frozenset({errno.EEXIST})
    )


def delete_address(index: int, address: IPv4Interface) -> Message:
    """Take an address away; one that is not there is fine."""
    body = struct.pack("=BBBBI", socket.AF_INET, address.network.prefixlen, 0, 0, index)
    return Message(
        _RTM_DELADDR,
        body + attributes([(_IFA_LOCAL, address.ip.packed)]),
        0,
        f"address {address}",
        _GONE | {errno.EADDRNOTAVAIL},
    )


def addresses(netlink: Netlink) -> list[tuple[int, IPv4Interface]]:
    """(index of the device, address) of every IPv4 address. Raises NetlinkError."""
    request = Message(_RTM_GETADDR, struct.pack("=BBBBI", socket.AF_INET, 0, 0, 0, 0), 0, "addresses")
    found = []
    for reply in netlink.dump(request):
        prefix, index = reply.body[1], struct.unpack_from("=I", reply.body, 4)[0]
        local = parse(reply.body, 8).get(_IFA_LOCAL)
        if local:
            found.append((index, IPv4Interface((local, prefix))))
    return found


def lasting_addresses(netlink: Netlink, index: int) -> list[bytes]:
    """The addresses of one device, of both families, that are permanent and for everybody: for `add_again`."""
    request = Message(_RTM_GETADDR, struct.pack("=BBBBI", socket.AF_UNSPEC, 0, 0, 0, 0), 0, "addresses")
    found = []
    for reply in netlink.dump(request):
        _family, _prefix, flags, scope, device = struct.unpack_from("=BBBBI", reply.body)
        if device == index and flags & _IFA_F_PERMANENT and scope == _RT_SCOPE_UNIVERSE:
            found.append(reply.body)
    return found


def add_again(index: int, address: bytes) -> Message:
    """Give the device `index` what `lasting_addresses` has found on another; one that is there is fine."""
    family, prefix = address[0], address[1]
    known = parse(address, 8)
    pairs = [(kind, known[kind]) for kind in (_IFA_LOCAL, _IFA_ADDRESS, _IFA_BROADCAST) if kind in known]
    body = struct.pack("=BBBBI", family, prefix, 0, 0, index) + attributes(pairs)
    return Message(_RTM_NEWADDR, body, NLM_F_CREATE | NLM_F_REPLACE, "address")


def move_link(index: int, netns: int, name: str) -> Message:
    """Send a device to the network namespace of this descriptor, where `name` is its name; it is down then."""
    body = _link(index, None, [(_IFLA_NET_NS_FD, netns), (_IFLA_IFNAME, name)])
    return Message(_RTM_SETLINK, body, 0, f"move to {name}")


def set_default_route(gateway: str) -> Message:
    """The default route, in place of the one that was there. The gateway must be on a link that is up."""
    body = struct.pack(
        "=BBBBBBBBI",
        socket.AF_INET, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, _RT_SCOPE_UNIVERSE, _RTN_UNICAST, 0,
    )  # fmt: skip
    pairs: list[tuple[int, Value]] = [(_RTA_GATEWAY, IPv4Address(gateway).packed)]
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return Message(_RTM_NEWROUTE, body + attributes(pairs), flags, f"default route via {gateway}")


def delete_default_route() -> Message:
    """Take the default route away; none is fine."""
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, _RT_TABLE_MAIN, 0, 0xFF, 0, 0)
    return Message(_RTM_DELROUTE, body, 0, "default route", _GONE)


def routes(netlink: Netlink) -> list[tuple[IPv4Network, int]]:
    """(destination, index of the device) of each route but the default ones and the local table."""
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
    found = []
    for reply in netlink.dump(Message(_RTM_GETROUTE, body, 0, "routes")):
        prefix, table = reply.body[1], reply.body[4]
        values = parse(reply.body, 12)
        if prefix and table != _RT_TABLE_LOCAL and _RTA_DST in values:
            found.append((IPv4Network((values[_RTA_DST], prefix)), _u32(values.get(_RTA_OIF))))
    return found


def forget_neighbour(index: int, address: str) -> Message:
    """Drop what the host remembers about a neighbour's MAC; nothing remembered is fine."""
    body = struct.pack("=BxxxiHBB", socket.AF_INET, index, 0, 0, 0)
    pairs: list[tuple[int, Value]] = [(_NDA_DST, IPv4Address(address).packed)]
    return Message(_RTM_DELNEIGH, body + attributes(pairs), 0, f"neighbour {address}", _GONE)


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("utf-8", "replace")


def _u32(raw: bytes | None) -> int:
    return int(struct.unpack("=I", raw)[0]) if raw else 0
