"""`hako-containerd publish --topic TOPIC --namespace NAMESPACE`: one event, for shims that do not speak ttrpc to us.

The event is a google.protobuf.Any on stdin, as containerd's own command takes it. Imports: containerd.client.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from hakobune.containerd.client import Client
from hakobune.containerd.config import publish_arguments
from hakobune.errors import InvalidArgument

VERB = "publish"
_MOST = 4 << 20


def publisher() -> str:
    """The path of our own program, for those who are told to publish with it."""
    return os.path.join(os.path.dirname(sys.executable), "hako-containerd")


def publish(argv: Sequence[str]) -> None:
    """Send it. Raises InvalidArgument, and what the manager says."""
    asked = publish_arguments(argv)
    try:
        event = Any.FromString(sys.stdin.buffer.read(_MOST))
    except DecodeError as err:
        raise InvalidArgument(f"the event on stdin is no Any: {err}") from err
    asyncio.run(_send(asked.address.removeprefix("unix://"), asked.namespace, asked.topic, event))


async def _send(address: str, namespace: str, topic: str, event: Any) -> None:
    client = Client(address, namespace)
    try:
        await client.events.publish(topic, event.type_url, event.value)
    finally:
        await client.close()
