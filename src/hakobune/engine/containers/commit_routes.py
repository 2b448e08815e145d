"""The edge of commit, which is a verb of containers and makes an image."""

from __future__ import annotations

from hakobune.engine.containers import commit
from hakobune.engine.containers.deps import Deps
from hakobune.engine.http.message import Request, Response, json_response
from hakobune.engine.http.router import Route
from hakobune.engine.images.images import Images


def routes(deps: Deps, images: Images) -> list[Route]:
    """The table."""

    async def make(request: Request) -> Response:
        query = request.query
        container = deps.store.get(query.get("container"))
        name, config = commit.wanted(
            container.config, query.get("repo"), query.get("tag"), query.all("changes"), await request.json()
        )
        asked = commit.Wanted(
            name, config, query.get("author"), query.get("comment"), query.bool("pause", True)
        )
        image = await commit.commit(deps, images, container, asked)
        return json_response({"Id": image.id}, 201)

    return [Route("POST", "/commit", make)]
