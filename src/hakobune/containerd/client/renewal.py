"""Client of our own renewal service; a containerd that is not ours does not serve it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import StringValue

from hakobune.containerd.client.connection import Connection


@dataclass(frozen=True, slots=True)
class Renewed:
    """One process: zygote or shim, whose task it holds, its release before and now, or why it goes on as it was."""

    process: str
    namespace: str
    id: str
    previous: str
    release: str
    error: str


class Renewal:
    """Has the manager's zygote and shims go on as the code that the manager is."""

    def __init__(self, connection: Connection) -> None:
        self._run = connection.stream("hakobune.manager.v1.Renewal", "Run", StringValue.FromString)

    async def run(self) -> AsyncIterator[Renewed]:
        """Each process as soon as it is through. Raises Unimplemented, Unavailable."""
        async for answer in self._run(Empty()):
            record: dict[str, Any] = json.loads(answer.value)
            yield Renewed(**{name: str(record.get(name, "")) for name in Renewed.__slots__})
