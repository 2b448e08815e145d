"""The edge of volumes."""

from __future__ import annotations

from typing import Any

from hakobune.engine.http.message import Request, Response, json_response
from hakobune.engine.http.router import Route
from hakobune.engine.schema.filters import Filters
from hakobune.engine.schema.shape import checked
from hakobune.engine.schema.times import rfc3339
from hakobune.engine.volumes.volumes import DRIVER, Volume, Volumes

_SHAPE: dict[str, tuple[type, Any]] = {
    "Name": (str, ""),
    "Driver": (str, ""),
    "DriverOpts": (dict, {}),
    "Labels": (dict, {}),
}
_FILTERS = ("dangling", "driver", "label", "name")


def document(volume: Volume) -> dict[str, Any]:
    """Docker's shape of a volume."""
    return {
        "CreatedAt": rfc3339(volume.created),
        "Driver": DRIVER,
        "Labels": dict(volume.labels) or None,
        "Mountpoint": volume.path,
        "Name": volume.name,
        "Options": dict(volume.options) or None,
        "Scope": "local",
    }


def _fits(volumes: Volumes, volume: Volume, filters: Filters) -> bool:
    if "dangling" in filters and filters.bool("dangling", True) == bool(volumes.users(volume.name)):
        return False
    if filters.get("name") and not any(wanted in volume.name for wanted in filters.get("name")):
        return False
    return filters.any_of("driver", [DRIVER]) and filters.labels(volume.labels)


def routes(volumes: Volumes) -> list[Route]:
    """The table."""

    async def listing(request: Request) -> Response:
        filters = request.query.filters()
        filters.check(_FILTERS)
        found = [document(volume) for volume in volumes.every() if _fits(volumes, volume, filters)]
        return json_response({"Volumes": found, "Warnings": None})

    async def create(request: Request) -> Response:
        body = checked(await request.json(), _SHAPE, "VolumeCreate")
        volume = volumes.create(body["Name"], body["Driver"], body["Labels"], body["DriverOpts"])
        return json_response(document(volume), 201)

    async def show(request: Request) -> Response:
        return json_response(document(volumes.get(request.params["name"])))

    async def remove(request: Request) -> Response:
        volumes.remove(request.params["name"], force=request.query.bool("force"))
        return Response(204)

    async def prune(request: Request) -> Response:
        filters = request.query.filters()
        filters.check(("label", "label!", "all"))
        gone, space = volumes.prune(filters)
        return json_response({"VolumesDeleted": gone or None, "SpaceReclaimed": space})

    return [
        Route("GET", "/volumes", listing),
        Route("POST", "/volumes/create", create),
        Route("POST", "/volumes/prune", prune),
        Route("GET", "/volumes/{name}", show),
        Route("DELETE", "/volumes/{name}", remove, uninterrupted=True),
    ]
