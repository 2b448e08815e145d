"""Version, health and introspection: who this manager is and what it is made of."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty

from hakobune.containerd.filters import Filter, fields
from hakobune.containerd.serving import Call, Service
from hakobune.errors import InvalidArgument, NotFound, Unimplemented
from hakobune.proto import health_pb2, types_pb2, version_pb2
from hakobune.proto import introspection_pb2 as pb
from hakobune.version import VERSION
from hakobune.wire import pb as wire

Describe = Callable[[str, bytes], Awaitable[bytes]]

# type, id, what it needs
PLUGINS = (
    ("io.containerd.content.v1", "content", ()),
    ("io.containerd.metadata.v1", "sqlite", ("io.containerd.content.v1", "io.containerd.snapshotter.v1")),
    ("io.containerd.snapshotter.v1", "native", ()),
    ("io.containerd.snapshotter.v1", "overlayfs", ()),
    ("io.containerd.gc.v1", "scheduler", ("io.containerd.metadata.v1",)),
    ("io.containerd.runtime.v2", "task", ("io.containerd.metadata.v1",)),
    ("io.containerd.differ.v1", "walking", ("io.containerd.metadata.v1",)),
    ("io.containerd.event.v1", "exchange", ()),
    ("io.containerd.streaming.v1", "manager", ()),
    ("io.containerd.transfer.v1", "local", ("io.containerd.metadata.v1", "io.containerd.differ.v1")),
    *(
        ("io.containerd.grpc.v1", name, ())
        for name in (
            "containers", "content", "diff", "events", "healthcheck", "images", "introspection", "leases",
            "namespaces", "snapshots", "streaming", "tasks", "transfer", "version",
        )
    ),
)  # fmt: skip
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


def version() -> Service:
    """containerd.services.version.v1.Version."""
    answer = version_pb2.VersionResponse(version=VERSION, revision="hakobune")

    async def serve(_request: Empty, _call: Call) -> version_pb2.VersionResponse:
        return answer

    served = Service("containerd.services.version.v1.Version", namespaced=False)
    served.unary("Version", Empty, serve)
    return served


def health() -> Service:
    """grpc.health.v1.Health: serving, as long as it answers."""
    answer = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    async def check(_request: health_pb2.HealthCheckRequest, _call: Call) -> health_pb2.HealthCheckResponse:
        return answer

    async def watch(
        _request: health_pb2.HealthCheckRequest, _call: Call
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        yield answer
        await asyncio.Event().wait()

    served = Service("grpc.health.v1.Health", namespaced=False)
    served.unary("Check", health_pb2.HealthCheckRequest, check)
    served.stream("Watch", health_pb2.HealthCheckRequest, watch)
    return served


def introspection(root: str, describe: Describe, places: Mapping[str, str]) -> Service:
    """containerd.services.introspection.v1.Introspection; the server's uuid is kept in `root`.

    `places` are the directories of stores, by plugin: `io.containerd.content.v1.content`.

    `describe(runtime, options)` asks a runtime's program for its containerd.types.RuntimeInfo.
    """
    server = pb.ServerResponse(uuid=_uuid(f"{root}/uuid"), pid=os.getpid(), pidns=_pid_namespace())
    plugins = [_plugin(*row, places) for row in PLUGINS]

    async def list_plugins(request: pb.PluginsRequest, _call: Call) -> pb.PluginsResponse:
        wanted = Filter(request.filters)
        found = [one for one in plugins if wanted.matches(fields({"type": one.type, "id": one.id}, {}))]
        return pb.PluginsResponse(plugins=found)

    async def more(plugin: pb.Plugin, asked: Any) -> Any:
        """containerd.types.RuntimeRequest (runtime path 1, options 2) is the one thing that can be asked."""
        if plugin.id != "task" or asked.type_url.rpartition("/")[2] != "containerd.types.RuntimeRequest":
            raise Unimplemented(f"plugin {plugin.type}.{plugin.id} does not answer {asked.type_url!r}")
        try:
            found = wire.decode(asked.value)
            runtime, options = wire.text(found, 1), wire.blob(found, 2)
        except ValueError as err:
            raise InvalidArgument(f"{asked.type_url} is malformed: {err}") from err
        return Any(type_url="containerd.types.RuntimeInfo", value=await describe(runtime, options))

    async def info(request: pb.PluginInfoRequest, _call: Call) -> pb.PluginInfoResponse:
        for one in plugins:
            if (one.type, one.id) == (request.type, request.id):
                extra = await more(one, request.options) if request.HasField("options") else None
                return pb.PluginInfoResponse(plugin=one, extra=extra)
        raise NotFound(f"plugin {request.type}.{request.id}: not found")

    async def serve(_request: Empty, _call: Call) -> pb.ServerResponse:
        return server

    served = Service("containerd.services.introspection.v1.Introspection", namespaced=False)
    served.unary("Plugins", pb.PluginsRequest, list_plugins)
    served.unary("PluginInfo", pb.PluginInfoRequest, info)
    served.unary("Server", Empty, serve)
    return served


def _plugin(kind: str, name: str, needs: tuple[str, ...], places: Mapping[str, str]) -> pb.Plugin:
    machine = os.uname().machine
    platform = types_pb2.Platform(os="linux", architecture=_ARCHITECTURES.get(machine, machine))
    place = places.get(f"{kind}.{name}")
    exports = {"root": place} if place else {}  # as containerd's stores say it
    return pb.Plugin(type=kind, id=name, requires=needs, platforms=[platform], exports=exports)


def _uuid(path: str) -> str:
    with contextlib.suppress(FileNotFoundError):
        with open(path) as file:
            return file.read().strip()
    made = str(uuid.uuid4())
    with open(path, "w") as file:
        file.write(made)
    return made


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino
