"""The engine's table of routes, gathered from its rooms; what one room asks of another is spelled out here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hakobune.containerd.client import Client
from hakobune.engine.config import Config
from hakobune.engine.containers import commit_routes, listing
from hakobune.engine.containers import routes as container_routes
from hakobune.engine.containers.deps import Deps
from hakobune.engine.events import routes as event_routes
from hakobune.engine.events.bus import Bus
from hakobune.engine.execs import routes as exec_routes
from hakobune.engine.execs.model import Execs
from hakobune.engine.http.message import Taken
from hakobune.engine.http.router import Route
from hakobune.engine.images import bringing, document, registry_routes, sizes
from hakobune.engine.images import routes as image_routes
from hakobune.engine.images.images import Images
from hakobune.engine.images.registries import Registries
from hakobune.engine.networks import routes as network_routes
from hakobune.engine.schema.filters import Filters
from hakobune.engine.system import checking
from hakobune.engine.system import routes as system_routes
from hakobune.engine.volumes import routes as volume_routes
from hakobune.engine.volumes.volumes import Volumes, size
from hakobune.net.door import Door


@dataclass(frozen=True, slots=True)
class Rooms:
    """Every room of the engine."""

    config: Config
    identity: str
    client: Client
    deps: Deps
    execs: Execs
    images: Images
    volumes: Volumes
    networks: Door
    bus: Bus
    succeed: Callable[[str, Taken], None]


def routes(rooms: Rooms) -> list[Route]:
    """The whole table."""
    store = rooms.deps.store

    def users(image: str) -> int:
        return sum(one.image == image for one in store)

    registries = Registries(
        f"{rooms.config.exec_root}/registries",
        rooms.config.certs_dir,
        rooms.config.mirrors,
        rooms.config.insecure,
    )
    system = system_routes.SystemDeps(
        config=rooms.config,
        identity=rooms.identity,
        runtimes=rooms.deps.runtimes,
        counts=lambda: _counts(rooms),
        manager_version=lambda: _manager(rooms),
        usage=lambda: _usage(rooms),
        succeed=rooms.succeed,
    )
    return [
        *system_routes.routes(system),
        *checking.routes(
            checking.CheckDeps(
                rooms.client, lambda: bringing.bring(rooms.images, registries), rooms.deps, rooms.volumes
            )
        ),
        *event_routes.routes(rooms.bus),
        *exec_routes.routes(rooms.deps, rooms.execs),
        *container_routes.routes(rooms.deps),
        *commit_routes.routes(rooms.deps, rooms.images),
        *image_routes.routes(rooms.images, registries, users),
        *registry_routes.routes(registries),
        *volume_routes.routes(rooms.volumes),
        *network_routes.routes(rooms.networks, store, rooms.bus),
    ]


async def _manager(rooms: Rooms) -> str:
    version, _revision = await rooms.client.version.get()
    return version


async def _counts(rooms: Rooms) -> Mapping[str, int]:
    statuses = [one.state.status for one in rooms.deps.store]
    return {
        "Containers": len(statuses),
        "ContainersRunning": statuses.count("running"),
        "ContainersPaused": statuses.count("paused"),
        "ContainersStopped": len(statuses) - statuses.count("running") - statuses.count("paused"),
        "Images": len(await rooms.images.every()),
    }


async def _usage(rooms: Rooms) -> dict[str, Any]:
    images = await rooms.images.every()
    users = {image.id: sum(one.image == image.id for one in rooms.deps.store) for image in images}
    shared = sizes.shared(images)
    volumes = []
    for volume in rooms.volumes.every():
        usage = {
            "Size": await asyncio.to_thread(size, volume.path),
            "RefCount": len(rooms.volumes.users(volume.name)),
        }
        volumes.append(volume_routes.document(volume) | {"UsageData": usage})
    return {
        "LayersSize": sizes.total(images),
        "Images": [document.summary(image, users[image.id], shared[image.id]) for image in images],
        "Containers": await listing.listing(rooms.deps, every=True, limit=0, size=True, filters=Filters()),
        "Volumes": volumes,
        "BuildCache": [],
    }
