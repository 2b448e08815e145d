"""Netlink: messages framed, sent in one go, and answered strictly.

The kernel works through everything that one sendmsg(2) carries before the call returns, so the answers are
already queued then: nothing here waits. The last message asks for an acknowledgement; a message that fails is
always answered. Layouts: man 7 netlink, <linux/netlink.h>. Imports: socket, struct.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

# <linux/netlink.h>
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_ROOT = 0x100
NLM_F_MATCH = 0x200
NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_DUMP_INTR = 0x10
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF
NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_BIGGEST = 1 << 18

Value = bytes | int | str | Sequence[tuple[int, "Value"]]


class NetlinkError(OSError):
    """The kernel's refusal, with its own words when it gives some."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request. Errors whose number is in `tolerate` count as success; `what` names it in an error."""

    kind: int
    body: bytes
    flags: int = 0
    what: str = ""
    tolerate: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: `kind` as in the header, `body` without it."""

    kind: int
    body: bytes


def pack(kind: int, value: Value) -> bytes:
    """One attribute. bytes as they are, int as native u32, str with a final NUL, a sequence of pairs nested."""
    if isinstance(value, bytes):
        payload = value
    elif isinstance(value, int):
        payload = struct.pack("=I", value)
    elif isinstance(value, str):
        payload = value.encode() + b"\0"
    else:
        kind |= NLA_F_NESTED
        payload = attributes(value)
    return _ATTRIBUTE.pack(len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


def attributes(pairs: Iterable[tuple[int, Value]]) -> bytes:
    """A run of attributes, aligned."""
    return b"".join(pack(kind, value) for kind, value in pairs)


def walk(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes in `data`, also when one kind comes many times. Stops at the first that is cut off."""
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > len(data):
            return
        yield kind & NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def parse(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes in `data` by kind."""
    return dict(walk(data, offset))


class Netlink:
    """One netlink socket, of the network namespace that the calling thread was in when it was made."""

    def __init__(self, protocol: int = NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        if protocol == NETLINK_ROUTE:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """May be called twice."""
        self._socket.close()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, messages: Sequence[Message]) -> list[Reply]:
        """Send all in one go; returns what they answered beside acknowledgements.

        Every message is tried, also after one that failed. Raises NetlinkError for the first that failed.
        """
        if not messages:
            return []
        return self._run(messages, self._sequence + len(messages))

    def run_batch(self, messages: Sequence[Message]) -> None:
        """A transaction of nfnetlink: the first message begins it, the last ends it. Raises NetlinkError.

        Kernels before 6.10 do not acknowledge the end, so the message before it is the one that answers.
        """
        self._run(messages, self._sequence + len(messages) - 1)

    def _run(self, messages: Sequence[Message], answering: int) -> list[Reply]:
        first = self._sequence + 1
        self._sequence += len(messages)
        raw = []
        for number, message in enumerate(messages, first):
            flags = message.flags | NLM_F_REQUEST | (NLM_F_ACK if number == answering else 0)
            raw.append(_HEADER.pack(_HEADER.size + len(message.body), message.kind, flags, number, 0))
            raw.append(message.body + b"\0" * (-len(message.body) % 4))
        self._socket.send(b"".join(raw))
        return self._answers(first, answering, messages)

    def one(self, message: Message) -> Reply:
        """Send a request that has exactly one answer. Raises NetlinkError."""
        replies = self.run([message])
        if len(replies) != 1:
            raise NetlinkError(errno.EPROTO, f"{len(replies)} answers instead of one", message.what)
        return replies[0]

    def dump(self, message: Message) -> list[Reply]:
        """All objects of a kind; asked again when they changed meanwhile. Raises NetlinkError."""
        for _ in range(16):
            replies = self._dump(message)
            if replies is not None:
                return replies
        raise NetlinkError(errno.EAGAIN, "changes faster than it can be read", message.what)

    def _dump(self, message: Message) -> list[Reply] | None:
        self._sequence += 1
        flags = message.flags | NLM_F_REQUEST | NLM_F_DUMP
        header = _HEADER.pack(_HEADER.size + len(message.body), message.kind, flags, self._sequence, 0)
        self._socket.send(header + message.body)
        found: list[Reply] = []
        torn = False
        while True:
            for kind, number, body, marks in self._receive():
                if number != self._sequence:
                    continue
                torn = torn or bool(marks & NLM_F_DUMP_INTR)
                if kind == NLMSG_DONE:
                    return None if torn else found
                if kind == NLMSG_ERROR:
                    _raise(body, marks, message)
                found.append(Reply(kind, body))

    def _answers(self, first: int, answering: int, messages: Sequence[Message]) -> list[Reply]:
        found: list[Reply] = []
        failure: tuple[bytes, int, Message] | None = None
        ended = False
        while not ended:
            try:
                received = list(self._receive())
            except BlockingIOError:
                break  # a batch that was refused as a whole answers its first message only
            for kind, number, body, marks in received:
                if number < first:
                    continue
                ended = ended or (number == answering and kind in (NLMSG_ERROR, NLMSG_DONE))
                message = messages[number - first]
                if kind != NLMSG_ERROR:
                    found.append(Reply(kind, body))
                elif _number(body) and _number(body) not in message.tolerate:
                    failure = failure or (body, marks, message)
        if failure:
            _raise(*failure)
        if not ended:
            raise NetlinkError(errno.EPROTO, "the kernel did not answer", messages[-1].what)
        return found

    def _receive(self) -> Iterator[tuple[int, int, bytes, int]]:
        """(kind, sequence number, body, flags) of each message in the next datagram. Raises BlockingIOError."""
        data = self._socket.recv(_BIGGEST, socket.MSG_DONTWAIT)
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, flags, number, _port = _HEADER.unpack_from(data, offset)
            if length < _HEADER.size:
                return
            yield kind, number, data[offset + _HEADER.size : offset + length], flags
            offset += (length + 3) & ~3


def _number(body: bytes) -> int:
    """errno out of struct nlmsgerr; 0 for an acknowledgement."""
    return int(-struct.unpack_from("=i", body)[0])


def _raise(body: bytes, flags: int, message: Message) -> None:
    number = _number(body)
    words = os.strerror(number)
    if flags & NLM_F_ACK_TLVS:
        length = struct.unpack_from("=I", body, 4)[0]  # of the request that is quoted
        quoted = _HEADER.size if flags & NLM_F_CAPPED else (length + 3) & ~3
        extra: Mapping[int, bytes] = parse(body, 4 + quoted)
        if NLMSGERR_ATTR_MSG in extra:
            words = f"{words}: {extra[NLMSGERR_ATTR_MSG].rstrip(bytes(1)).decode('ascii', 'replace')}"
    raise NetlinkError(number, words, message.what)
