"""Client of our own check of the store; a containerd that is not ours does not serve it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue

from hakobune.containerd.client.connection import Connection


class Check:
    """Has the manager look over its store."""

    def __init__(self, connection: Connection) -> None:
        self._run = connection.stream("hakobune.manager.v1.Check", "Run", StringValue.FromString)

    async def run(self, *, repair: bool, young: float) -> AsyncIterator[dict[str, Any]]:
        """Each finding, as checking/check.py has it. Raises Unimplemented, Unavailable."""
        async for answer in self._run(StringValue(value=json.dumps({"repair": repair, "young": young}))):
            yield json.loads(answer.value)
