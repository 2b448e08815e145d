"""Client of the version service."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.client.connection import Connection
from hakobune.proto import version_pb2 as pb


class Version:
    """Asks which manager this is."""

    def __init__(self, connection: Connection) -> None:
        self._version = connection.brief(
            "containerd.services.version.v1.Version", "Version", pb.VersionResponse.FromString
        )

    async def get(self) -> tuple[str, str]:
        """(version, revision). Raises Unavailable."""
        found = await self._version(Empty())
        return found.version, found.revision
