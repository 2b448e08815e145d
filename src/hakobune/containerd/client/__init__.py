"""The door of hako-containerd: a typed asyncio client of containerd's API, ours or the real one.

One module for each service; data goes in and out as frozen dataclasses, never as messages. Every method may
raise the HakoError whose class the manager's status names, with the manager's sentence, and Unavailable
when it cannot be reached.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from hakobune.containerd.client.checking import Check
from hakobune.containerd.client.connection import Connection
from hakobune.containerd.client.containers import Container, Containers
from hakobune.containerd.client.content import Content, Info
from hakobune.containerd.client.diff import Diff
from hakobune.containerd.client.events import Any, Event, Events, Subscription, TaskExit, TaskOOM
from hakobune.containerd.client.images import Image, Images
from hakobune.containerd.client.introspection import Introspection
from hakobune.containerd.client.leases import Lease, Leases
from hakobune.containerd.client.namespaces import Namespace, Namespaces
from hakobune.containerd.client.renewal import Renewal, Renewed
from hakobune.containerd.client.snapshots import Snapshot, Snapshots, Usage
from hakobune.containerd.client.tasks import Exit, Process, Tasks
from hakobune.containerd.client.transfer import Transfer
from hakobune.containerd.client.version import Version
from hakobune.errors import Unavailable

__all__ = [
    "Any", "Client", "Container", "Event", "Exit", "Image", "Info", "Lease", "Namespace", "Process", "Renewed",
    "Snapshot", "Subscription", "TaskExit", "TaskOOM", "Usage",
]  # fmt: skip

BACK_SECONDS = 10.0  # how long a manager that died may take to answer again
_TRIES = 4
T = TypeVar("T")


class Client:
    """One connection to the manager at `address` (a path), acting in one namespace.

    To be made inside a running event loop; the connection is made at the first call and again when it breaks.
    Calls that find nobody listening wait up to `patience` seconds for somebody who does.
    """

    def __init__(self, address: str, namespace: str, *, patience: float = 0.0) -> None:
        self.address = address
        self._connection = Connection(address, namespace, patience)
        self.content = Content(self._connection)
        self.snapshots = Snapshots(self._connection)
        self.images = Images(self._connection)
        self.containers = Containers(self._connection)
        self.tasks = Tasks(self._connection)
        self.leases = Leases(self._connection)
        self.events = Events(self._connection)
        self.namespaces = Namespaces(self._connection)
        self.diff = Diff(self._connection)
        self.transfer = Transfer(self._connection)
        self.version = Version(self._connection)
        self.introspection = Introspection(self._connection)
        self.renewal = Renewal(self._connection)
        self.check = Check(self._connection)

    def lease(self, lease_id: str) -> contextlib.AbstractContextManager[None]:
        """`with client.lease(id):` what is made inside is held by the lease."""
        return self._connection.lease(lease_id)

    async def ready(self, timeout: float) -> None:
        """Wait until the manager answers. Raises Unavailable after `timeout` seconds."""
        await self._connection.ready(self.version.probe, timeout)

    async def again(self, call: Callable[[], Awaitable[T]]) -> T:
        """A call that may be made twice, and is when the manager dies over it, or the connection. Raises as `call`."""
        for _ in range(_TRIES - 1):
            try:
                return await call()
            except Unavailable:
                await self.ready(BACK_SECONDS)
        return await call()

    async def close(self) -> None:
        """End the connection."""
        await self._connection.close()
