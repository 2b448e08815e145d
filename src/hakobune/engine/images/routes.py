"""The edge of images."""

from __future__ import annotations

import fnmatch
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from hakobune.engine.http.message import JSON_HEADERS, Request, Response, json_response
from hakobune.engine.http.router import Route
from hakobune.engine.images import changes, document, starter
from hakobune.engine.images.images import Images
from hakobune.engine.images.model import Image
from hakobune.engine.schema.filters import Filters
from hakobune.errors import InvalidArgument, NotFound, Unimplemented
from hakobune.logs.json_file import rfc3339
from hakobune.spec import reference

_FILTERS = ("before", "dangling", "label", "reference", "since", "until")


def routes(images: Images, containers_of: Callable[[str], int]) -> list[Route]:
    """The table. `containers_of(image id)` counts those that have it."""

    async def listing(request: Request) -> Response:
        filters = request.query.filters()
        filters.check(_FILTERS)
        fits = await _fitting(images, filters)
        found = [image for image in await images.every() if fits(image)]
        found.sort(key=document.seconds, reverse=True)
        return json_response([document.summary(image, containers_of(image.id)) for image in found])

    async def create(request: Request) -> Response:
        if request.query.get("fromSrc"):
            return await _import(images, request)
        return await _pull(images, request)

    async def show(request: Request) -> Response:
        return json_response(document.inspect(await images.resolve(request.params["name"])))

    async def history(request: Request) -> Response:
        return json_response(document.history(await images.resolve(request.params["name"])))

    async def tag(request: Request) -> Response:
        await images.tag(request.params["name"], request.query.get("repo"), request.query.get("tag"))
        return Response(201)

    async def remove(request: Request) -> Response:
        return json_response(await images.remove(request.params["name"], force=request.query.bool("force")))

    async def prune(request: Request) -> Response:
        filters = request.query.filters()
        filters.check(("dangling", "label", "label!", "until"))
        gone, space = await images.prune(
            every=not filters.bool("dangling", True), fits=lambda image: filters.labels(image.labels)
        )
        return json_response({"ImagesDeleted": gone or None, "SpaceReclaimed": space})

    async def not_yet(request: Request) -> Response:
        raise Unimplemented(
            f"{request.method} {request.path} is not served yet: images come from `import` and from {starter.NAME}"
        )

    return [
        Route("GET", "/images/json", listing),
        Route("GET", "/images/search", not_yet),
        Route("GET", "/images/get", not_yet),
        Route("POST", "/images/load", not_yet),
        Route("POST", "/images/create", create),
        Route("POST", "/images/prune", prune),
        Route("GET", "/images/{name}/json", show),
        Route("GET", "/images/{name}/history", history),
        Route("GET", "/images/{name}/get", not_yet),
        Route("POST", "/images/{name}/push", not_yet),
        Route("POST", "/images/{name}/tag", tag),
        Route("DELETE", "/images/{name}", remove, uninterrupted=True),
        Route("POST", "/commit", not_yet),
    ]


async def _fitting(images: Images, filters: Filters) -> Callable[[Image], bool]:
    before = [document.seconds(await images.resolve(name)) for name in filters.get("before")]
    since = [document.seconds(await images.resolve(name)) for name in filters.get("since")]

    def fits(image: Image) -> bool:
        if "dangling" in filters and filters.bool("dangling", True) == bool(image.tags):
            return False
        if filters.get("reference") and not any(
            _refers(image, wanted) for wanted in filters.get("reference")
        ):
            return False
        at = document.seconds(image)
        return (
            filters.labels(image.labels)
            and all(at < one for one in before)
            and all(at > one for one in since)
        )

    return fits


def _refers(image: Image, wanted: str) -> bool:
    names = [*image.tags, *(tag.rpartition(":")[0] for tag in image.tags)]
    return any(fnmatch.fnmatchcase(name, wanted) for name in names)


async def _import(images: Images, request: Request) -> Response:
    query = request.query
    if query.get("fromSrc") != "-":
        raise Unimplemented("import from a URL is not served: fetch the archive and send it (fromSrc=-)")
    name = ""
    if repository := query.get("repo"):
        parsed = reference.parse(f"{repository}:{query.get('tag')}" if query.get("tag") else repository)
        if parsed.digest:
            raise InvalidArgument("cannot import digest reference")
        name = parsed.full
    inner = changes.apply(query.all("changes"))
    config = document.new_config(
        inner, created=rfc3339(time.time_ns()), comment=query.get("message") or "Imported from -"
    )
    image = await images.add(request.stream(), config, name)
    return Response(200, _line({"status": image.id}), JSON_HEADERS)


async def _pull(images: Images, request: Request) -> Response:
    query = request.query
    text = query.get("fromImage")
    if not text:
        raise InvalidArgument("neither fromImage nor fromSrc is given")
    tag = query.get("tag")
    name = reference.parse(f"{text}{'@' if tag.startswith('sha256:') else ':'}{tag}" if tag else text)
    if not starter.wanted(name.short):
        raise NotFound(
            f"pull access denied for {name.familiar}, repository does not exist or may require 'docker login': "
            f"registries are not served yet; import a root file system, or use {starter.NAME}"
        )
    await request.read()
    return Response(200, _pulled(images, name), JSON_HEADERS)


async def _pulled(images: Images, name: reference.Reference) -> AsyncIterator[bytes]:
    yield _line({"status": f"Pulling from {name.familiar}", "id": name.tag})
    image = await images.resolve(name.short)
    yield _line({"status": f"Digest: {image.manifest}"})
    yield _line({"status": f"Status: Image is made from this host's own files for {name.short}"})


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\r\n"
