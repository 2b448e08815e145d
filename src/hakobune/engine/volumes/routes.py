"""The edge of volumes: decode, call, encode."""

from __future__ import annotations

from typing import Any

from hakobune.engine.http.message import Request, Response, json_response
from hakobune.engine.http.router import Route
from hakobune.engine.schema.shape import checked
from hakobune.engine.volumes import listing
from hakobune.engine.volumes.model import Volume
from hakobune.engine.volumes.volumes import Volumes
from hakobune.errors import InvalidArgument, Unimplemented

_CREATE = {
    "Name": (str, ""),
    "Driver": (str, ""),
    "DriverOpts": (dict, {}),
    "Labels": (dict, {}),
    "ClusterVolumeSpec": (dict, {}),
}


def document(volume: Volume) -> dict[str, Any]:
    """Docker's shape of a volume."""
    return volume.document()


def routes(volumes: Volumes) -> list[Route]:
    """The table."""

    async def list_all(request: Request) -> Response:
        found = listing.listing(volumes, request.query.filters())
        return json_response({"Volumes": [one.document() for one in found], "Warnings": None})

    async def show(request: Request) -> Response:
        return json_response(volumes.get(request.params["name"]).document() | {"Status": None})

    async def make(request: Request) -> Response:
        body = checked(await request.json(), _CREATE, "volume")
        if body["ClusterVolumeSpec"]:
            raise Unimplemented("cluster volumes are not supported")
        volume, _ = volumes.create(
            body["Name"],
            driver=body["Driver"],
            labels=_texts(body, "Labels"),
            options=_texts(body, "DriverOpts"),
        )
        return json_response(volume.document(), 201)

    async def drop(request: Request) -> Response:
        volumes.remove(request.params["name"], force=request.query.bool("force"))
        await volumes.emptied()
        return Response(204)

    async def prune(request: Request) -> Response:
        return json_response(await listing.prune(volumes, request.query.filters()))

    return [
        Route("GET", "/volumes", list_all),
        Route("POST", "/volumes/create", make),
        Route("POST", "/volumes/prune", prune, uninterrupted=True),
        Route("GET", "/volumes/{name}", show),
        Route("DELETE", "/volumes/{name}", drop, uninterrupted=True),
    ]


def _texts(body: dict[str, Any], name: str) -> dict[str, str]:
    """A mapping of texts. Raises InvalidArgument."""
    for key, value in body[name].items():
        if not isinstance(value, str):
            raise InvalidArgument(f"invalid JSON: volume.{name}.{key}: a string is needed, got {value!r:.60}")
    return dict(body[name])
