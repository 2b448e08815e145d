"""The edge of the system room."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hakobune.engine.config import Config
from hakobune.engine.containers.deps import now
from hakobune.engine.http.message import Request, Response, Taken, json_response
from hakobune.engine.http.router import Route
from hakobune.engine.runtimes import Runtimes
from hakobune.engine.system import info, upgrade
from hakobune.errors import HakoError, InvalidArgument, NotFound, Unavailable, Unimplemented

_NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
_SWARM = ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs")
_KINDS = {  # of /system/df -> fields of its answer
    "container": ("Containers",),
    "image": ("Images", "LayersSize"),
    "volume": ("Volumes",),
    "build-cache": ("BuildCache",),
}
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
    runtimes: Runtimes
    counts: Callable[[], Awaitable[Mapping[str, int]]]
    manager_version: Callable[[], Awaitable[str]]
    usage: Callable[[], Awaitable[dict[str, Any]]]
    succeed: Callable[[str, Taken], None]


def routes(deps: SystemDeps) -> list[Route]:
    """The table."""

    async def ping(_request: Request) -> Response:
        return Response(200, b"OK", _PING)

    async def manager() -> str:
        try:
            return await deps.manager_version()
        except HakoError:
            return "not reachable"

    async def version(_request: Request) -> Response:
        return json_response(info.version(await manager()))

    async def about(_request: Request) -> Response:
        counts = await deps.counts()
        return json_response(
            info.info(deps.config, deps.identity, counts, now(), deps.runtimes, await manager())
        )

    async def usage(request: Request) -> Response:
        return json_response(_chosen(await deps.usage(), request.query.all("type")))

    async def upgraded(request: Request) -> Taken:
        return await upgrade.upgrade(request, deps.succeed)

    async def no_swarm(_request: Request) -> Response:
        raise Unavailable(_NO_SWARM)

    async def none(_request: Request) -> Response:
        return json_response([])

    async def no_cache(_request: Request) -> Response:
        return json_response({"CachesDeleted": None, "SpaceReclaimed": 0})

    async def no_plugin(request: Request) -> Response:
        raise NotFound(f'plugin "{request.params["name"]}" not found')

    async def not_yet(request: Request) -> Response:
        raise Unimplemented(f"{request.method} {request.path} is not served yet")

    return [
        Route("GET", "/_ping", ping),
        Route("HEAD", "/_ping", ping),
        Route("GET", "/version", version),
        Route("GET", "/info", about),
        Route("GET", "/system/df", usage),
        Route("POST", "/hako/upgrade", upgraded),
        Route("GET", "/plugins", none),
        Route("GET", "/plugins/{name}/json", no_plugin),
        Route("POST", "/build", not_yet),
        Route("POST", "/build/prune", no_cache),
        Route("POST", "/session", not_yet),
        Route("POST", "/swarm/init", not_yet),
        Route("POST", "/swarm/join", not_yet),
        *(Route("GET", path, no_swarm) for path in _SWARM),
        *(
            Route(method, f"{path}/{{rest}}", no_swarm)
            for path in _SWARM
            for method in ("GET", "POST", "DELETE")
        ),
    ]


def _chosen(usage: dict[str, Any], kinds: list[str]) -> dict[str, Any]:
    """Only the kinds of things that were asked for; all without a choice. Raises InvalidArgument."""
    for kind in kinds:
        if kind not in _KINDS:
            raise InvalidArgument(f"unknown object type: {kind}")
    if not kinds:
        return usage
    unwanted = {name for kind, names in _KINDS.items() if kind not in kinds for name in names}
    return {
        name: (0 if name == "LayersSize" else None) if name in unwanted else value
        for name, value in usage.items()
    }
