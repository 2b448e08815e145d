"""One shim as the manager sees it: typed calls over ttrpc or gRPC, whichever it says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from hakobune.containerd.tasks.bundle import Place
from hakobune.shim.manager_client import RENEW, Renewed, ask_renewal, read_renewal
from hakobune.transport.grpc_client import GrpcClient
from hakobune.transport.ttrpc_client import TtrpcClient

Response = TypeVar("Response", bound=Message)


class Line(Protocol):
    """A connection: transport/ttrpc_client.py says what each of these does."""

    @property
    def connected(self) -> bool: ...
    async def call(self, service: str, method: str, payload: bytes, timeout: float = 0) -> bytes: ...
    def close(self) -> None: ...


LINES: dict[str, Callable[[str, Callable[[], None]], Awaitable[Line]]] = {
    "ttrpc": TtrpcClient.connect,
    "grpc": GrpcClient.connect,
}


class Shim:
    """A connection to the shim of one task."""

    def __init__(self, client: Line, version: int) -> None:
        self._client = client
        self._service = f"containerd.task.v{version}.Task"  # the messages are the same

    @classmethod
    async def connect(cls, place: Place, on_lost: Callable[[], None]) -> Shim:
        """Raises Unavailable."""
        return cls(await LINES[place.protocol](place.path, on_lost), place.version)

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
