"""The edge of containers: decode, call, encode; nothing is decided here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hakobune.engine.containers import (
    attach,
    change,
    copy,
    create,
    export,
    inspect,
    listing,
    logs,
    remove,
    stop,
    top,
    wait,
)
from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.model import Container
from hakobune.engine.http.message import Request, Response, Taken, json_response
from hakobune.engine.http.router import Route
from hakobune.errors import InvalidArgument, Unimplemented

Verb = Callable[[Container, Request], Awaitable[Response | Taken]]


def routes(deps: Deps) -> list[Route]:
    """The table."""

    def one(verb: Verb) -> Callable[[Request], Awaitable[Response | Taken]]:
        """A handler for the container that the path names."""

        async def handler(request: Request) -> Response | Taken:
            return await verb(deps.store.get(request.params["id"]), request)

        return handler

    async def make(request: Request) -> Response:
        query = request.query
        container, warnings = await create.create(
            deps, query.get("name"), await request.json(), query.get("platform")
        )
        return json_response({"Id": container.id, "Warnings": warnings}, 201)

    async def list_all(request: Request) -> Response:
        query = request.query
        lines = await listing.listing(
            deps,
            every=query.bool("all"),
            limit=query.int("limit"),
            size=query.bool("size"),
            filters=query.filters(),
        )
        return json_response(lines)

    async def show(container: Container, request: Request) -> Response:
        return json_response(await inspect.inspect(deps, container, size=request.query.bool("size")))

    async def begin(container: Container, _request: Request) -> Response:
        await remove.start_or_remove(deps, container)
        return Response(204)

    async def end(container: Container, request: Request) -> Response:
        await stop.stop(deps, container, _seconds(request), request.query.get("signal"))
        return Response(204)

    async def again(container: Container, request: Request) -> Response:
        await stop.restart(deps, container, _seconds(request), request.query.get("signal"))
        return Response(204)

    async def signal(container: Container, request: Request) -> Response:
        await stop.kill(deps, container, request.query.get("signal"))
        return Response(204)

    async def drop(container: Container, request: Request) -> Response:
        query = request.query
        if query.bool("link"):
            raise InvalidArgument("links are not supported")
        await remove.remove(deps, container, force=query.bool("force"), volumes=query.bool("v"))
        return Response(204)

    async def await_end(container: Container, request: Request) -> Response | Taken:
        return await wait.wait(deps, container, request)

    async def join(container: Container, request: Request) -> Response | Taken:
        return await attach.attach(deps, container, request)

    async def output(container: Container, request: Request) -> Response | Taken:
        return await logs.logs(deps, container, request)

    async def rename(container: Container, request: Request) -> Response:
        await change.rename(deps, container, request.query.get("name"))
        return Response(204)

    async def freeze(container: Container, _request: Request) -> Response:
        await change.pause(deps, container)
        return Response(204)

    async def thaw(container: Container, _request: Request) -> Response:
        await change.unpause(deps, container)
        return Response(204)

    async def size(container: Container, request: Request) -> Response:
        await change.resize(deps, container, request.query.int("h"), request.query.int("w"))
        return Response(200)

    async def limit(container: Container, request: Request) -> Response:
        return json_response({"Warnings": await change.update(deps, container, await request.json())})

    async def processes(container: Container, _request: Request) -> Response:
        return json_response(await top.top(deps, container))

    async def prune(request: Request) -> Response:
        return json_response(await change.prune(deps, request.query.filters()))

    async def export_all(container: Container, _request: Request) -> Response:
        parts = await export.export(deps, container)
        return Response(200, parts, (("Content-Type", "application/octet-stream"),))

    async def changed(container: Container, _request: Request) -> Response:
        return json_response(await export.changes(deps, container))

    async def copy_out(container: Container, request: Request) -> Response:
        found, parts = await copy.read(deps, container, request.query.get("path"))
        return Response(200, parts, (("Content-Type", "application/x-tar"), (copy.STAT, found)))

    async def path_status(container: Container, request: Request) -> Response:
        found = await copy.status(deps, container, request.query.get("path"))
        return Response(200, b"", ((copy.STAT, found),))

    async def copy_in(container: Container, request: Request) -> Response:
        query = request.query
        own, keep = query.bool("copyUIDGID"), query.bool("noOverwriteDirNonDir")
        await copy.write(deps, container, query.get("path"), request.stream(), own=own, keep=keep)
        return Response(200)

    async def not_yet(container: Container, request: Request) -> Response:
        verb = request.path.rpartition("/")[2]
        raise Unimplemented(f"{verb} of a container is not served yet ({container.name})")

    return [
        Route("POST", "/containers/create", make, uninterrupted=True),
        Route("POST", "/containers/prune", prune),
        Route("GET", "/containers/json", list_all),
        Route("GET", "/containers/{id}/json", one(show)),
        Route("POST", "/containers/{id}/start", one(begin), uninterrupted=True),
        Route("POST", "/containers/{id}/stop", one(end), uninterrupted=True),
        Route("POST", "/containers/{id}/restart", one(again), uninterrupted=True),
        Route("POST", "/containers/{id}/kill", one(signal), uninterrupted=True),
        Route("POST", "/containers/{id}/wait", one(await_end)),
        Route("POST", "/containers/{id}/attach", one(join)),
        Route("GET", "/containers/{id}/logs", one(output)),
        Route("POST", "/containers/{id}/rename", one(rename), uninterrupted=True),
        Route("POST", "/containers/{id}/pause", one(freeze), uninterrupted=True),
        Route("POST", "/containers/{id}/unpause", one(thaw), uninterrupted=True),
        Route("POST", "/containers/{id}/resize", one(size)),
        Route("POST", "/containers/{id}/update", one(limit), uninterrupted=True),
        Route("GET", "/containers/{id}/top", one(processes)),
        Route("GET", "/containers/{id}/stats", one(not_yet)),
        Route("GET", "/containers/{id}/changes", one(changed)),
        Route("GET", "/containers/{id}/export", one(export_all)),
        Route("GET", "/containers/{id}/archive", one(copy_out)),
        Route("PUT", "/containers/{id}/archive", one(copy_in)),
        Route("HEAD", "/containers/{id}/archive", one(path_status)),
        Route("DELETE", "/containers/{id}", one(drop), uninterrupted=True),
    ]


def _seconds(request: Request) -> int | None:
    return request.query.int("t") if "t" in request.query and request.query.get("t") else None
