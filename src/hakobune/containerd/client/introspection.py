"""Client of the introspection service: what a manager is made of."""

from __future__ import annotations

from hakobune.containerd.client.connection import Connection
from hakobune.proto import introspection_pb2 as pb

_STORES = ("io.containerd.content.v1", "io.containerd.snapshotter.v1")


class Introspection:
    """Raises what the manager says."""

    def __init__(self, connection: Connection) -> None:
        self._plugins = connection.unary(
            "containerd.services.introspection.v1.Introspection", "Plugins", pb.PluginsResponse.FromString
        )

    async def roots(self, snapshotter: str) -> list[str]:
        """The directories of content and of this snapshotter's layers, as far as the manager tells them."""
        found = await self._plugins(pb.PluginsRequest(filters=[f"type=={one}" for one in _STORES]))
        return [
            one.exports["root"]
            for one in found.plugins
            if one.exports.get("root") and (one.type == _STORES[0] or one.id == snapshotter)
        ]
