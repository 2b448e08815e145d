"""One shim as the manager sees it: typed calls over ttrpc."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from hakobune.containerd.tasks.bundle import Place
from hakobune.shim.manager_client import RENEW, Renewed, ask_renewal, read_renewal
from hakobune.transport.ttrpc_client import TtrpcClient

Response = TypeVar("Response", bound=Message)


class Shim:
    """A connection to the shim of one task."""

    def __init__(self, client: TtrpcClient, version: int) -> None:
        self._client = client
        self._service = f"containerd.task.v{version}.Task"  # the messages are the same

    @classmethod
    async def connect(cls, place: Place, on_lost: Callable[[], None]) -> Shim:
        """Raises Unavailable."""
        return cls(await TtrpcClient.connect(place.path, on_lost), place.version)

    @property
    def connected(self) -> bool:
        """Whether it can be asked."""
        return self._client.connected

    async def call(
        self, method: str, request: Message, response: type[Response], timeout: float = 0
    ) -> Response:
        """One call; raises the shim's own HakoError, Unavailable when it has gone."""
        payload = await self._client.call(self._service, method, request.SerializeToString(), timeout)
        return response.FromString(payload)

    async def renew(self, python: str, timeout: float) -> Renewed:
        """Have it go on as the code of that interpreter. Raises as `call`, ValueError."""
        service, method = RENEW
        return read_renewal(await self._client.call(service, method, ask_renewal(python), timeout))

    def close(self) -> None:
        """Hang up; the shim lives on."""
        self._client.close()
