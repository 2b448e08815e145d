"""The edge of execs: decode, call, encode."""

from __future__ import annotations

from hakobune.engine.containers.deps import Deps
from hakobune.engine.execs import verbs
from hakobune.engine.execs.model import Execs
from hakobune.engine.http.message import Request, Response, Taken, json_response
from hakobune.engine.http.router import Route


def routes(deps: Deps, execs: Execs) -> list[Route]:
    """The table."""

    async def create(request: Request) -> Response:
        container = deps.store.get(request.params["id"])
        one = verbs.create(execs, container, await request.json())
        verbs.prepare(deps, container, one)
        deps.tell(container, f"exec_create: {' '.join(one.config['Cmd'])}", execID=one.id)
        return json_response({"Id": one.id}, 201)

    async def start(request: Request) -> Response | Taken:
        return await verbs.start(deps, execs, execs.get(request.params["id"]), request)

    async def inspect(request: Request) -> Response:
        one = execs.get(request.params["id"])
        return json_response(await verbs.inspect(deps.store.get(one.container), one))

    async def resize(request: Request) -> Response:
        one = execs.get(request.params["id"])
        await verbs.resize(deps, one, request.query.int("h"), request.query.int("w"))
        return Response(200)

    return [
        Route("POST", "/containers/{id}/exec", create),
        Route("POST", "/exec/{id}/start", start, uninterrupted=True),
        Route("GET", "/exec/{id}/json", inspect),
        Route("POST", "/exec/{id}/resize", resize),
    ]
