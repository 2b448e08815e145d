"""Small translations between our data and containerd's messages, used by several edges."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from hakobune.proto import types_pb2 as pb
from hakobune.spec.mount import Mount

_SECOND = 1_000_000_000


def timestamp(nanoseconds: int) -> Timestamp:
    """From nanoseconds since the epoch."""
    return Timestamp(seconds=nanoseconds // _SECOND, nanos=nanoseconds % _SECOND)


def nanoseconds(stamp: Timestamp) -> int:
    """The inverse of `timestamp`."""
    return stamp.seconds * _SECOND + stamp.nanos


def mounts_to(mounts: Iterable[Mount]) -> list[pb.Mount]:
    """As messages."""
    return [pb.Mount(type=m.type, source=m.source, target=m.target, options=m.options) for m in mounts]
