"""Codec of the side socket: how an engine hands clients' connections to a shim.

One packet of a SOCK_SEQPACKET socket is one message: kind (1 byte), sequence number (4 bytes),
then fields, each a 4 byte length and its bytes; all numbers are big endian. At most one descriptor
travels beside a packet. This module knows no socket.

A container whose shim is another's has a keeper instead (shim/keeper.py), which serves the same messages and
some of its own. Such a shim's streams are FIFOs in a directory of the keeper's; `fifo` names them. Imports: struct.
"""

from __future__ import annotations

import struct

# engine -> shim
ATTACH = 1  # exec_id, flags, head, early, detach_keys        + the client's connection
WAIT = 2  # condition, head                                   + the client's connection
LOGS = 3  # head, path, query                                 + the client's connection
RELEASE = 4  # exec_id, exit status: its exit is recorded above
RECLAIM = 5  # connections that wait for the removal go back
# engine -> keeper
EXPECT = 6  # exec_id, "1" with a terminal, "1" with input: its FIFOs are made
DRAIN = 7  # exec_id: DRAINED is to come
# shim -> engine
OK = 16
ERROR = 17  # message
RETURN = 18  # + a connection
EXITED = 21  # exec_id, pid, exit status, nanoseconds since the epoch: an end, which the manager tells of, too
# keeper -> engine
INPUT_ENDED = 19  # exec_id: the shim has to close its own end, too
DRAINED = 20  # exec_id: its output is complete, or will not be

STDIN = 1
STDOUT = 2
STDERR = 4
FRAMED = 8

MAX_PACKET = 192 * 1024

_HEAD = struct.Struct("!BI")
_LENGTH = struct.Struct("!I")


def fifo(directory: str, exec_id: str, stream: str) -> str:
    """Where a stream ("stdin", "stdout", "stderr") of init (exec_id "") or an exec is, of a keeper's container."""
    return f"{directory}/{exec_id or 'init'}-{stream}"


def pack(kind: int, seq: int, *fields: bytes) -> bytes:
    """One packet. Raises ValueError when it would be longer than MAX_PACKET bytes."""
    parts = [_HEAD.pack(kind, seq)]
    for field in fields:
        parts.append(_LENGTH.pack(len(field)))
        parts.append(field)
    packet = b"".join(parts)
    if len(packet) > MAX_PACKET:
        raise ValueError(f"side packet of {len(packet)} bytes is longer than {MAX_PACKET}")
    return packet


def unpack(packet: bytes) -> tuple[int, int, list[bytes]]:
    """(kind, seq, fields). Raises ValueError when the packet is cut or has a rest."""
    if len(packet) < _HEAD.size:
        raise ValueError(f"side packet of {len(packet)} bytes has no head")
    kind, seq = _HEAD.unpack_from(packet)
    fields: list[bytes] = []
    at = _HEAD.size
    while at < len(packet):
        if at + _LENGTH.size > len(packet):
            raise ValueError("side packet ends inside a length")
        (size,) = _LENGTH.unpack_from(packet, at)
        at += _LENGTH.size
        if at + size > len(packet):
            raise ValueError("side packet ends inside a field")
        fields.append(packet[at : at + size])
        at += size
    return kind, seq, fields
