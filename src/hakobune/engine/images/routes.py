"""The edge of images: decode, call, encode."""

from __future__ import annotations

from collections.abc import Callable

from hakobune.engine.http.message import JSON_HEADERS, Request, Response, json_response
from hakobune.engine.http.router import Route
from hakobune.engine.images import (
    archive,
    credentials,
    document,
    fetching,
    importing,
    progress,
    pull,
    push,
    sizes,
)
from hakobune.engine.images.images import Images
from hakobune.engine.images.listing import listing
from hakobune.engine.images.registries import Registries
from hakobune.engine.images.remove import prune, remove
from hakobune.engine.images.tag import tag
from hakobune.errors import InvalidArgument


def routes(
    images: Images, registries: Registries, containers_of: Callable[[str], int] = lambda image: -1
) -> list[Route]:
    """The table. `containers_of(image id)` counts those that have it, -1 for not counted."""

    async def list_all(request: Request) -> Response:
        found = await listing(images, request.query.filters())
        shared = sizes.shared(await images.every()) if request.query.bool("shared-size") else {}
        return json_response([
            document.summary(image, containers_of(image.id), shared.get(image.id, -1)) for image in found
        ])  # fmt: skip

    async def make(request: Request) -> Response:
        if request.query.get("fromSrc"):
            return await _import(images, request)
        return await _pull(images, registries, request)

    async def send(request: Request) -> Response:
        await request.read()
        name = push.wanted(request.params["name"], request.query.get("tag"))
        own = credentials.of_request(request.headers, name.domain)
        return Response(200, progress.guarded(push.lines(images, registries, name, own)), JSON_HEADERS)

    async def show(request: Request) -> Response:
        image, _ = await images.find(request.params["name"])
        return json_response(document.inspect(await images.complete(image), request.version))

    async def history(request: Request) -> Response:
        image, _ = await images.find(request.params["name"])
        return json_response(document.history(await images.complete(image)))

    async def name(request: Request) -> Response:
        await tag(images, request.params["name"], request.query.get("repo"), request.query.get("tag"))
        return Response(201)

    async def drop(request: Request) -> Response:
        return json_response(await remove(images, request.params["name"], force=request.query.bool("force")))

    async def clean(request: Request) -> Response:
        return json_response(await prune(images, request.query.filters()))

    async def save(request: Request) -> Response:
        names = [request.params["name"]] if "name" in request.params else request.query.all("names")
        parts = await archive.save(images, names, archive.platforms(request.query.all("platform")))
        return Response(200, parts, (("Content-Type", "application/x-tar"),))

    async def load(request: Request) -> Response:
        where = archive.platforms(request.query.all("platform"))
        parts = await pull.begun(archive.load(images, request.stream(), where))
        return Response(200, progress.guarded(parts), JSON_HEADERS)

    return [
        Route("GET", "/images/json", list_all),
        Route("GET", "/images/get", save),
        Route("POST", "/images/load", load),
        Route("POST", "/images/create", make),
        Route("POST", "/images/prune", clean, uninterrupted=True),
        Route("GET", "/images/{name}/json", show),
        Route("GET", "/images/{name}/history", history),
        Route("GET", "/images/{name}/get", save),
        Route("POST", "/images/{name}/push", send),
        Route("POST", "/images/{name}/tag", name, uninterrupted=True),
        Route("DELETE", "/images/{name}", drop, uninterrupted=True),
    ]


async def _import(images: Images, request: Request) -> Response:
    query = request.query
    source = query.get("fromSrc")
    url = "" if source == "-" else fetching.whole(source)
    message = query.get("message") or f"Imported from {url or '-'}"
    asked = importing.wanted(
        query.get("repo"), query.get("tag"), message, query.all("changes"), query.get("platform")
    )
    if url:
        await request.read()
        parts = await pull.begun(fetching.lines(images, asked, url))
        return Response(200, progress.guarded(parts), JSON_HEADERS)
    image = await importing.load(images, asked, request.stream())
    return Response(200, progress.line(status=image.id), JSON_HEADERS)


async def _pull(images: Images, registries: Registries, request: Request) -> Response:
    query = request.query
    if not query.get("fromImage"):
        raise InvalidArgument("neither fromImage nor fromSrc is given")
    asked = pull.wanted(query.get("fromImage"), query.get("tag"), query.get("platform"))
    own = credentials.of_request(request.headers, asked.name.domain)
    await request.read()
    parts = await pull.begun(pull.lines(images, registries, asked, own))
    return Response(200, progress.guarded(parts), JSON_HEADERS)
