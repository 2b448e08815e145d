"""Small translations between our data and containerd's messages, used by several edges."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from hakobune.errors import InvalidArgument
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


def pack(message: Message) -> Any:
    """With the type URL that containerd gives its messages: the name alone."""
    return Any(type_url=message.DESCRIPTOR.full_name, value=message.SerializeToString())


def type_name(packed: Any) -> str:
    """The full name of the message inside."""
    return packed.type_url.rpartition("/")[2]


def unpack_as(packed: Any, message: Message) -> bool:
    """Fill `message` from `packed` if it is of that type. Raises InvalidArgument when it is damaged."""
    if type_name(packed) != message.DESCRIPTOR.full_name:
        return False
    try:
        message.ParseFromString(packed.value)
    except DecodeError as err:
        raise InvalidArgument(f"{packed.type_url}: {err}") from err
    return True
