"""Client of the version service."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.client.connection import Connection
from hakobune.proto import version_pb2 as pb


class Version:
    """Asks which manager this is."""

    def __init__(self, connection: Connection) -> None:
        words = "containerd.services.version.v1.Version", "Version", pb.VersionResponse.FromString
        self._version = connection.brief(*words)
        self._by_grpc = connection.unary(*words)

    async def probe(self) -> None:
        """Ask by gRPC, whose channel goes on failing for a second after it found nobody: who has this answer has all."""
        await self._by_grpc(Empty())

    async def get(self) -> tuple[str, str]:
        """(version, revision). Raises Unavailable."""
        found = await self._version(Empty())
        return found.version, found.revision
