"""The edge of the system room."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hakobune.engine.config import Config
from hakobune.engine.containers.deps import now
from hakobune.engine.http.message import Request, Response, json_response
from hakobune.engine.http.router import Route
from hakobune.engine.system import info
from hakobune.errors import HakoError, Unavailable, Unimplemented

_NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
_SWARM = ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs")
_PING = (
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Builder-Version", "1"),
    ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ("Pragma", "no-cache"),
    ("Swarm", "inactive"),
)


@dataclass(frozen=True, slots=True)
class SystemDeps:
    """What this room asks of the others."""

    config: Config
    identity: str
    counts: Callable[[], Awaitable[Mapping[str, int]]]
    manager_version: Callable[[], Awaitable[str]]
    usage: Callable[[], Awaitable[dict[str, Any]]]


def routes(deps: SystemDeps) -> list[Route]:
    """The table."""

    async def ping(_request: Request) -> Response:
        return Response(200, b"OK", _PING)

    async def version(_request: Request) -> Response:
        try:
            manager = await deps.manager_version()
        except HakoError:
            manager = "not reachable"
        return json_response(info.version(manager))

    async def about(_request: Request) -> Response:
        return json_response(info.info(deps.config, deps.identity, await deps.counts(), now()))

    async def usage(_request: Request) -> Response:
        return json_response(await deps.usage())

    async def no_swarm(_request: Request) -> Response:
        raise Unavailable(_NO_SWARM)

    async def none(_request: Request) -> Response:
        return json_response([])

    async def no_cache(_request: Request) -> Response:
        return json_response({"CachesDeleted": None, "SpaceReclaimed": 0})

    async def not_yet(request: Request) -> Response:
        raise Unimplemented(f"{request.method} {request.path} is not served yet")

    return [
        Route("GET", "/_ping", ping),
        Route("HEAD", "/_ping", ping),
        Route("GET", "/version", version),
        Route("GET", "/info", about),
        Route("GET", "/system/df", usage),
        Route("GET", "/plugins", none),
        Route("POST", "/auth", not_yet),
        Route("POST", "/build", not_yet),
        Route("POST", "/build/prune", no_cache),
        Route("POST", "/session", not_yet),
        Route("GET", "/distribution/{name}/json", not_yet),
        *(Route("GET", path, no_swarm) for path in _SWARM),
    ]
