"""nf_tables over netlink: tables, chains, sets, rules and their expressions, committed as one transaction.

A rule is a list of expressions that load registers, compare them, and end in a verdict. `Table` collects
messages; `commit` sends them between a batch's begin and end, and the kernel takes all or nothing.
Numbers: <linux/netfilter/nf_tables.h>, <linux/netfilter/nfnetlink.h>. Attribute integers are big-endian,
values in registers are as the kernel loads them. Imports: netlink.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hakobune.linux.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    Netlink,
    Value,
    attributes,
    parse,
    walk,
)

_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE, _GETRULE = 0, 1, 2, 3, 6, 7
_NEWSET, _NEWSETELEM, _GETSETELEM, _DELSETELEM = 9, 12, 13, 14

# Registers: four of 16 bytes, or sixteen of 4 that lie over them.
VERDICT = 0
REGISTER = tuple(range(8, 24))

NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
META_IIFNAME, META_OIFNAME, META_L4PROTO = 6, 7, 16
CT_STATE, CT_STATUS = 0, 2
STATE_ESTABLISHED, STATE_RELATED = 2, 4  # 1 << (ctinfo + 1)
STATUS_DNAT = 1 << 5  # IPS_DST_NAT
EQ, NEQ = 0, 1
DROP, ACCEPT, RETURN, JUMP = 0, 1, -5, -3

HOOK_PREROUTING, HOOK_INPUT, HOOK_FORWARD, HOOK_OUTPUT, HOOK_POSTROUTING = range(5)

# What `nft list` shows of a set's types; concatenated types are six bits each.
TYPE_ADDRESS, TYPE_PROTOCOL, TYPE_PORT, TYPE_IFNAME = 7, 12, 13, 41

_SET_MAP = 8
_FIB_DADDR, _FIB_RESULT_ADDRTYPE = 1 << 1, 3
_RTN_LOCAL = 2

Expression = tuple[str, Sequence[tuple[int, Value]]]


def _be(number: int) -> bytes:
    return struct.pack("!I", number & 0xFFFFFFFF)


# --- expressions ----------------------------------------------------------------------------------


def meta(key: int, register: int = 1) -> Expression:
    """Load a fact about the packet."""
    return "meta", [(1, _be(register)), (2, _be(key))]


def payload(base: int, offset: int, length: int, register: int = 1) -> Expression:
    """Load bytes of a header."""
    return "payload", [(1, _be(register)), (2, _be(base)), (3, _be(offset)), (4, _be(length))]


def compare(value: bytes, operator: int = EQ, register: int = 1) -> Expression:
    """Go on only if the register equals (or not) `value`."""
    return "cmp", [(1, _be(register)), (2, _be(operator)), (3, [(1, value)])]


def mask(bits: bytes, register: int = 1) -> Expression:
    """register &= bits."""
    zero = bytes(len(bits))
    return "bitwise", [
        (1, _be(register)), (2, _be(register)), (3, _be(len(bits))), (4, [(1, bits)]), (5, [(1, zero)]),
    ]  # fmt: skip


def conntrack(key: int, register: int = 1) -> Expression:
    """Load a fact about the connection."""
    return "ct", [(1, _be(register)), (2, _be(key))]


def lookup(name: str, source: int = 1, target: int | None = None) -> Expression:
    """Go on only if the register's value is in the set; of a map also load the value that goes with it."""
    pairs: list[tuple[int, Value]] = [(1, name), (2, _be(source))]
    if target is not None:
        pairs.append((3, _be(target)))
    return "lookup", pairs


def verdict(code: int, chain: str = "") -> Expression:
    """End here."""
    inner: list[tuple[int, Value]] = [(1, _be(code))]
    if chain:
        inner.append((2, chain))
    return "immediate", [(1, _be(VERDICT)), (2, [(2, inner)])]


def dnat(address: int, port: int) -> Expression:
    """Rewrite the destination to what the two registers hold."""
    family = _be(socket.AF_INET)
    return "nat", [
        (1, _be(1)),
        (2, family),
        (3, _be(address)),
        (4, _be(address)),
        (5, _be(port)),
        (6, _be(port)),
    ]


def masquerade() -> Expression:
    """Rewrite the source to the address of the device it leaves by."""
    return "masq", []


def local_destination() -> list[Expression]:
    """Go on only if the packet is for this host."""
    fib: Expression = ("fib", [(1, _be(1)), (2, _be(_FIB_RESULT_ADDRTYPE)), (3, _be(_FIB_DADDR))])
    return [fib, compare(struct.pack("=I", _RTN_LOCAL))]


def interface(key: int, name: str, operator: int = EQ) -> list[Expression]:
    """Go on only if the packet comes in (META_IIFNAME) or goes out (META_OIFNAME) there."""
    return [meta(key), compare(name.encode().ljust(16, b"\0"), operator)]


def within(offset: int, network: bytes, netmask: bytes) -> list[Expression]:
    """Go on only if the address at `offset` of the IP header (12 source, 16 destination) is in the network."""
    return [payload(NETWORK_HEADER, offset, 4), mask(netmask), compare(network)]


def has(key: int, bits: int) -> list[Expression]:
    """Go on only if the connection has one of these bits."""
    return [conntrack(key), mask(struct.pack("=I", bits)), compare(bytes(4), NEQ)]


# --- objects --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Map:
    """A set or, with `data` types, a map. Types are numbers as above with their lengths in bytes."""

    name: str
    key: tuple[tuple[int, int], ...]
    data: tuple[tuple[int, int], ...] = ()


def _type(parts: Sequence[tuple[int, int]]) -> tuple[int, int]:
    number = 0
    for kind, _ in parts:
        number = number << 6 | kind
    return number, sum((length + 3) & ~3 for _, length in parts)


class Table:
    """Messages about one table of family ip, in the order in which they are called for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._messages: list[Message] = []
        self._set_ids = 0

    def renew(self) -> None:
        """The table, empty: what it held goes away in the same transaction."""
        self.create()
        self.delete()
        self.create()

    def create(self) -> None:
        """The table, unless it is there."""
        self._add(_NEWTABLE, [(1, self.name)], NLM_F_CREATE, f"table {self.name}")

    def delete(self) -> None:
        """Take the table away with all it holds. Refused with ENOENT when it is not there."""
        self._add(_DELTABLE, [(1, self.name)], 0, f"table {self.name}")

    def chain(self, name: str) -> None:
        """A chain that others jump to."""
        self._add(_NEWCHAIN, [(1, self.name), (3, name)], NLM_F_CREATE, f"chain {name}")

    def base_chain(self, name: str, *, kind: str, hook: int, priority: int) -> None:
        """A chain at a hook, of kind filter or nat; what no rule decides is accepted."""
        pairs: list[tuple[int, Value]] = [
            (1, self.name), (3, name), (4, [(1, _be(hook)), (2, _be(priority))]), (5, _be(ACCEPT)), (7, kind),
        ]  # fmt: skip
        self._add(_NEWCHAIN, pairs, NLM_F_CREATE, f"chain {name}")

    def rule(self, chain: str, *expressions: Expression) -> None:
        """Append a rule."""
        listed: list[tuple[int, Value]] = [(1, [(1, name), (2, data)]) for name, data in expressions]
        pairs: list[tuple[int, Value]] = [(1, self.name), (2, chain), (4, listed)]
        self._add(_NEWRULE, pairs, NLM_F_CREATE | NLM_F_APPEND, f"rule in chain {chain}")

    def map(self, shape: Map) -> None:
        """A set or map without elements."""
        self._set_ids += 1
        key_type, key_length = _type(shape.key)
        flags = _SET_MAP if shape.data else 0  # a concatenation needs no flag unless it holds ranges
        pairs: list[tuple[int, Value]] = [
            (1, self.name), (2, shape.name), (3, _be(flags)), (4, _be(key_type)), (5, _be(key_length)),
            (10, _be(self._set_ids)),
        ]  # fmt: skip
        if shape.data:
            data_type, data_length = _type(shape.data)
            pairs += [(6, _be(data_type)), (7, _be(data_length))]
        self._add(_NEWSET, pairs, NLM_F_CREATE | NLM_F_EXCL, f"set {shape.name}")

    def put(self, name: str, elements: Iterable[tuple[bytes, bytes]]) -> None:
        """Add elements (key, data; empty data in a set). The same again is fine, other data is EEXIST."""
        self._elements(_NEWSETELEM, name, elements, NLM_F_CREATE)

    def drop(self, name: str, elements: Iterable[tuple[bytes, bytes]]) -> None:
        """Remove elements by key. One that is not there fails the transaction with ENOENT."""
        self._elements(_DELSETELEM, name, [(key, b"") for key, _ in elements], 0)

    def commit(self, netlink: Netlink) -> None:
        """All of it or nothing. Raises NetlinkError."""
        if not self._messages:
            return
        begin = Message(_BATCH_BEGIN, struct.pack("!BBH", socket.AF_UNSPEC, 0, _SUBSYSTEM), 0, "batch")
        end = Message(_BATCH_END, begin.body, 0, "batch")
        netlink.run_batch([begin, *self._messages, end])
        self._messages.clear()

    def _elements(self, kind: int, name: str, elements: Iterable[tuple[bytes, bytes]], flags: int) -> None:
        # 16 bits hold the length of a nested attribute: not more than some hundred at once.
        listed = list(elements)
        for start in range(0, len(listed), 500):
            nested: list[tuple[int, Value]] = [
                (1, [(1, [(1, key)]), *([(2, [(1, data)])] if data else [])])
                for key, data in listed[start : start + 500]
            ]
            self._add(kind, [(1, self.name), (2, name), (3, nested)], flags, f"elements of {name}")

    def _add(self, kind: int, pairs: Sequence[tuple[int, Value]], flags: int, what: str) -> None:
        self._messages.append(Message(_SUBSYSTEM << 8 | kind, _family() + attributes(pairs), flags, what))


def _family() -> bytes:
    return struct.pack("!BBH", socket.AF_INET, 0, 0)


# --- looking --------------------------------------------------------------------------------------


def exists(netlink: Netlink, table: str) -> bool:
    """Whether there is a table of this name. Raises NetlinkError."""
    body = _family() + attributes([(1, table)])
    tolerate = frozenset({errno.ENOENT})
    return bool(netlink.run([Message(_SUBSYSTEM << 8 | _GETTABLE, body, 0, f"table {table}", tolerate)]))


def elements(netlink: Netlink, table: str, name: str) -> dict[bytes, bytes]:
    """Keys and data of a set. Raises NetlinkError, ENOENT when it is not there."""
    body = _family() + attributes([(1, table), (2, name)])
    found: dict[bytes, bytes] = {}
    for reply in netlink.dump(Message(_SUBSYSTEM << 8 | _GETSETELEM, body, 0, f"set {name}")):
        for raw in _nested(parse(reply.body, 4).get(3, b"")):
            values = parse(raw)
            found[_data(values.get(1))] = _data(values.get(2))
    return found


def count_rules(netlink: Netlink, table: str) -> int:
    """How many rules a table has. Raises NetlinkError."""
    body = _family() + attributes([(1, table)])
    return len(netlink.dump(Message(_SUBSYSTEM << 8 | _GETRULE, body, 0, f"rules of {table}")))


def _nested(data: bytes) -> list[bytes]:
    return [value for _, value in walk(data)]


def _data(raw: bytes | None) -> bytes:
    return parse(raw).get(1, b"") if raw else b""
