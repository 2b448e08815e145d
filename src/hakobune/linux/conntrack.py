"""Connection tracking over netlink: flows that are remembered, forgotten.

A flow of UDP has no end that the kernel could see: while a caller goes on sending, its packets keep the
destination that the first one got, whatever the rules say by now. Numbers:
<linux/netfilter/nfnetlink_conntrack.h>. Imports: netlink.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection

from hakobune.linux.netlink import Message, Netlink, attributes, parse

_SUBSYSTEM = 1  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = 1, 2
_TUPLE_ORIG, _ID, _FILTER = 1, 12, 25
_TUPLE_PROTO = 2
_PROTO_NUM, _PROTO_DST_PORT = 1, 3
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
_FILTER_PROTO_NUM = 1 << 3
_FAMILY = struct.pack("!BBH", socket.AF_INET, 0, 0)


def forget_udp(netlink: Netlink, ports: Collection[int]) -> int:
    """Forget the flows of UDP that began towards one of these ports; returns how many. Raises NetlinkError.

    Kernels from 5.8 on list UDP only; older ones list everything.
    """
    doomed = [raw for raw in _udp_flows(netlink) if _destination(raw[_TUPLE_ORIG]) in ports]
    tolerate = frozenset({errno.ENOENT})
    netlink.run([
        Message(
            _SUBSYSTEM << 8 | _DELETE,
            _FAMILY + attributes([(_TUPLE_ORIG | 0x8000, raw[_TUPLE_ORIG]), (_ID, raw[_ID])]),
            0,
            "connection",
            tolerate,
        )
        for raw in doomed
    ])  # fmt: skip
    return len(doomed)


def _udp_flows(netlink: Netlink) -> list[dict[int, bytes]]:
    number = bytes([socket.IPPROTO_UDP])
    body = _FAMILY + attributes([
        (_TUPLE_ORIG, [(_TUPLE_PROTO, [(_PROTO_NUM, number)])]),
        (_FILTER, [(_FILTER_ORIG_FLAGS, _FILTER_PROTO_NUM), (_FILTER_REPLY_FLAGS, 0)]),
    ])  # fmt: skip
    return [
        parse(reply.body, 4)
        for reply in netlink.dump(Message(_SUBSYSTEM << 8 | _GET, body, 0, "connections"))
    ]


def _destination(raw: bytes) -> int:
    """The destination port of a UDP tuple; 0 of others."""
    protocol = parse(parse(raw).get(_TUPLE_PROTO, b""))
    if protocol.get(_PROTO_NUM) != bytes([socket.IPPROTO_UDP]):
        return 0
    return int(struct.unpack("!H", protocol.get(_PROTO_DST_PORT, b"\0\0"))[0])
