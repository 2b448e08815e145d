"""The edge of what is asked of registries and needs no image here: login, a look at a manifest, search.

What speaks HTTP to registries is loaded when somebody asks: a megabyte that most engines do without.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hakobune.engine.http.message import Request, Response, json_response
from hakobune.engine.http.router import Route
from hakobune.engine.images import credentials, refusals
from hakobune.engine.images.registries import Registries
from hakobune.engine.schema.filters import Filters
from hakobune.errors import HakoError, InvalidArgument, PermissionDenied, Unauthenticated
from hakobune.registry.repository import DOCKER_LIST, INDEX, Repository
from hakobune.spec import reference
from hakobune.spec.descriptor import Descriptor
from hakobune.spec.reference import DEFAULT_DOMAIN

_MOST_RESULTS = 100
_FILTERS = ("is-automated", "is-official", "stars")


def routes(registries: Registries) -> list[Route]:
    """The table."""

    async def auth(request: Request) -> Response:
        from hakobune.registry.login import login

        document = await request.json()
        if not isinstance(document, dict):
            raise InvalidArgument("invalid credentials: a JSON object is needed")
        own = credentials.read(document)
        domain = credentials.domain_of(own.server)
        try:
            token = await login(domain, registries.access(domain, own))
        except (Unauthenticated, PermissionDenied) as err:
            where = own.server or DEFAULT_DOMAIN
            raise Unauthenticated(f"login attempt to {where} failed: {_said(err)}") from None
        except HakoError as err:
            raise refusals.of_question(err, domain) from None
        return json_response({"IdentityToken": token, "Status": "Login Succeeded"})

    async def distribution(request: Request) -> Response:
        from hakobune.registry.remote import open_repository

        name = reference.parse(request.params["name"]).whole()
        own = credentials.of_request(request.headers, name.domain)
        try:
            async with open_repository(name, registries.access(name.domain, own)) as repository:
                return json_response(await _inspect(repository, name.digest or name.tag))
        except HakoError as err:
            raise refusals.of_question(err, name.familiar) from None

    async def look(request: Request) -> Response:
        return json_response(await _search(registries, request))

    return [
        Route("POST", "/auth", auth),
        Route("GET", "/distribution/{name}/json", distribution),
        Route("GET", "/images/search", look),
    ]


def _said(err: HakoError) -> str:
    return err.message.rpartition("server message: ")[2]


async def _inspect(repository: Repository, label: str) -> dict[str, Any]:
    found = await repository.resolve(label)
    document = json.loads(await repository.manifest(found))
    if found.media_type in (INDEX, DOCKER_LIST):
        platforms = [
            one["platform"] for one in document["manifests"] if isinstance(one.get("platform"), dict)
        ]
    else:
        platforms = await _platform(repository, document)
    about = {"mediaType": found.media_type, "digest": found.digest, "size": found.size}
    return {"Descriptor": about, "Platforms": platforms}


async def _platform(repository: Repository, manifest: dict[str, Any]) -> list[dict[str, str]]:
    """Of one image: what its configuration says."""
    one = manifest["config"]
    config = Descriptor(str(one["mediaType"]), str(one["digest"]), int(one["size"]))
    if config.size > 4 << 20:
        raise InvalidArgument(f"configuration {config.digest} has {config.size} bytes")
    async with contextlib.aclosing(repository.blob(config)) as parts:
        body = b"".join([part async for part in parts])
    try:
        read = json.loads(body)
        names = {key: str(read[key]) for key in ("architecture", "os", "variant") if read.get(key)}
    except (ValueError, AttributeError, RecursionError):
        return []
    return [names] if names else []


async def _search(registries: Registries, request: Request) -> list[dict[str, Any]]:
    from hakobune.registry.searching import search

    term = request.query.get("term")
    if not term:
        raise InvalidArgument("invalid search: term is not given")
    limit = request.query.int("limit", 25) or 25
    if not 0 < limit <= _MOST_RESULTS:
        raise InvalidArgument(f"Limit {limit} is outside the range of [1, {_MOST_RESULTS}]")
    filters = request.query.filters()
    filters.check(_FILTERS)
    domain, rest = _split(term)
    own = credentials.of_request(request.headers, domain)
    try:
        found = await search(domain, rest, limit, registries.access(domain, own))
    except HakoError as err:
        raise refusals.of_question(err, domain) from None
    return [one for one in map(_result, found) if _fits(one, filters)][:limit]


def _split(term: str) -> tuple[str, str]:
    head, slash, rest = term.partition("/")
    if slash and (set(head) & set(".:") or head == "localhost"):
        return head, rest
    return DEFAULT_DOMAIN, term.removeprefix("library/")


def _result(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "star_count": int(one.get("star_count") or 0), "is_official": bool(one.get("is_official")),
        "name": str(one.get("name") or ""), "is_automated": False, "description": str(one.get("description") or ""),
    }  # fmt: skip


def _fits(one: dict[str, Any], filters: Filters) -> bool:
    if "is-official" in filters and filters.bool("is-official", False) != one["is_official"]:
        return False
    if "is-automated" in filters and filters.bool("is-automated", False):
        return False
    return all(one["star_count"] >= _stars(text) for text in filters.get("stars"))


def _stars(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InvalidArgument(f"invalid filter 'stars={text}'")
    return int(text)
