"""Brief calls over the manager's ttrpc socket: a fifth of what gRPC costs both sides (ADR 0008).

Whether a manager serves a method there is found by asking: what says "unimplemented", or has no such socket, is
asked over gRPC. Imports: transport.
"""

from __future__ import annotations

import asyncio

from hakobune.errors import Unavailable, Unimplemented
from hakobune.transport.ttrpc_client import TtrpcClient

NAMESPACE = "containerd-namespace-ttrpc"
LEASE = "containerd-lease"
_LONGEST = 2 << 20  # bytes of a request: ttrpc carries twice that, with its envelope


class Lane:
    """One connection, made when it is needed, and anew when the manager was replaced."""

    def __init__(self, path: str, namespace: str) -> None:
        self._path = path
        self._plain = ((NAMESPACE, namespace),)
        self._client: TtrpcClient | None = None
        self._connecting = asyncio.Lock()
        self._elsewhere: set[str] = set()  # what this manager does not serve here
        self._closed = False

    async def call(self, service: str, method: str, payload: bytes, lease: str) -> bytes | None:
        """The answer's payload; None when it is to be asked over gRPC: nobody has heard it then.

        Raises the HakoError that the manager says, Unavailable when the connection ends first. Cancelled, the
        answer is dropped when it comes.
        """
        client = self._client
        if client is None or not client.connected:
            client = await self._connect()
        name = f"{service}/{method}"
        if client is None or name in self._elsewhere or len(payload) > _LONGEST:
            return None
        metadata = (*self._plain, (LEASE, lease)) if lease else self._plain
        try:
            return await client.call(service, method, payload, metadata=metadata)
        except Unimplemented:
            self._elsewhere.add(name)
            return None

    async def _connect(self) -> TtrpcClient | None:
        async with self._connecting:
            if self._closed or (self._client is not None and self._client.connected):
                return self._client
            self._elsewhere.clear()
            try:
                self._client = await TtrpcClient.connect(self._path)
            except Unavailable:
                self._client = None
            return self._client

    def close(self) -> None:
        """End the connection; calls under way raise Unavailable, later ones go to gRPC."""
        self._closed = True
        if self._client is not None:
            self._client.close()
            self._client = None
