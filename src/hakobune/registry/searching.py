"""Search by the first version of the registries' API, which few registries serve besides Docker's."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from hakobune.errors import InvalidArgument, NotFound
from hakobune.registry.hosts import Host, hosts_of
from hakobune.registry.http import Http
from hakobune.registry.repository import Access
from hakobune.registry.session import Session

_DOCKER = "docker.io"
_HUB = Host("https://index.docker.io/v2")
_LARGEST = 4 << 20


async def search(domain: str, term: str, limit: int, access: Access) -> list[dict[str, Any]]:
    """Results as the registry has them: objects with `name`, `description`, `star_count`, `is_official`.

    Raises NotFound when the registry cannot search, Unavailable, InvalidArgument.
    """
    host = _HUB if domain == _DOCKER else hosts_of(domain, access.host_dir, access.default_scheme)[-1]
    http = Http()
    session = Session(http, host, access)
    try:
        async with session.ask("GET", "", "", tries=1) as answer:  # learns the scheme
            await answer.beginning(1024)
        root = session.base.removesuffix("/v2")
        async with session.ask(
            "GET", f"{root}/v1/search?{urlencode({'q': term, 'n': limit})}", "", tries=2
        ) as answer:
            if answer.status != 200:
                raise NotFound(
                    f"registry {domain} cannot search: it answers /v1/search with status {answer.status}"
                )
            return _results(await answer.read(_LARGEST), domain)
    finally:
        http.close()


def _results(body: bytes, domain: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(body)["results"]
        if not all(isinstance(one, dict) for one in found):
            raise TypeError("results")
        return list(found)
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise InvalidArgument(f"registry {domain}: the answer to a search is not one") from err
