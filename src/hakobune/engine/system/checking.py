"""POST /hako/check: the store looked over, the manager's and the engine's own; with `repair=1` mended.

The answer is one JSON object a line, as containerd/checking/check.py has them: a finding each, {"note": "…"} for what
could not be looked at, and {"findings": N, "left": N} at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from hakobune.containerd.client import Client
from hakobune.engine.containers.deps import Deps
from hakobune.engine.http.message import JSON_HEADERS, Request, Response
from hakobune.engine.http.router import Route
from hakobune.engine.images import progress
from hakobune.engine.images.progress import line
from hakobune.errors import HakoError, NotFound, Unavailable, Unimplemented

YOUNG_SECONDS = 60  # what is younger and belongs to nothing may be of something that is being made


class Volume(Protocol):
    """A volume as it is on record."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...


class Volumes(Protocol):
    """All that are on record."""

    def every(self) -> list[Any]: ...


@dataclass(frozen=True, slots=True)
class CheckDeps:
    """What is looked at."""

    client: Client
    bring: Callable[[], Awaitable[dict[str, str]]]  # pull again what is damaged: image to why not
    containers: Deps
    volumes: Volumes


def routes(deps: CheckDeps) -> list[Route]:
    """The table."""

    async def look(request: Request) -> Response:
        await request.read()
        young = request.query.int("older", YOUNG_SECONDS)
        found = check(deps, repair=request.query.bool("repair"), young=young)
        return Response(200, progress.guarded(found), JSON_HEADERS)

    return [Route("POST", "/hako/check", look)]


async def check(deps: CheckDeps, *, repair: bool, young: int) -> AsyncGenerator[bytes, None]:
    """The lines of the answer."""
    count = left = 0
    try:
        damaged: list[dict[str, Any]] = []
        async for found in deps.client.check.run(repair=repair, young=young):
            if repair and found["kind"] in ("blob", "image") and found["problem"] != "extra":
                damaged.append(found)  # to be told when it is known whether it could be pulled again
                continue
            count, left = count + 1, left + (not found["done"])
            yield line(**found)
        for found in await _brought(deps, damaged):
            count, left = count + 1, left + (not found["done"])
            yield line(**found)
    except (Unimplemented, Unavailable) as err:
        yield line(note=f"the manager's store is not looked at: {err}")
    async for found in _own(deps, repair=repair, young=young):
        count, left = count + 1, left + (not found["done"])
        yield line(**found)
    yield line(findings=count, left=left)


async def _brought(deps: CheckDeps, damaged: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same findings after what a registry still has was pulled again."""
    if not damaged:
        return []
    why: dict[str, str] = {}
    with contextlib.suppress(HakoError):  # what was found is told in any case
        why = await deps.bring()
    for found in damaged:
        if found["kind"] == "image" and found["name"] in why:
            reason = why[found["name"]]
            found["done"], found["why"] = ("", reason) if reason else ("pulled again by its digest", "")
        elif found["kind"] == "blob":
            with contextlib.suppress(NotFound):
                await deps.client.content.info(found["name"])
                found["done"] = "pulled again"
    return damaged


async def _own(deps: CheckDeps, *, repair: bool, young: int) -> AsyncIterator[dict[str, Any]]:
    snapshots = set(await deps.containers.runtime.snapshots())
    for container in deps.containers.store:
        if container.id not in snapshots and container.state.status != "removing":
            why = "what it had written is lost: remove it"
            yield _finding("container", container.name, "lost", "its snapshot is gone", why=why)
    for path in _strays(deps.containers, young):
        done = ""
        if repair:
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
            done = "removed"
        yield _finding("container", os.path.basename(path), "extra", "a directory of no container", done)
    for volume in deps.volumes.every():
        if not os.path.isdir(volume.path):
            done = ""
            if repair:
                os.makedirs(volume.path, mode=0o755, exist_ok=True)
                done = "made again, empty"
            yield _finding("volume", volume.name, "missing", "its directory is gone", done)


def _strays(deps: Deps, young: int) -> list[str]:
    """Directories of containers that are not on record."""
    known = {container.id for container in deps.store}
    paths = [os.path.join(deps.root, name) for name in sorted(set(os.listdir(deps.root)) - known)]
    return [path for path in paths if time.time() - os.lstat(path).st_ctime > young]


def _finding(
    kind: str, name: str, problem: str, detail: str, done: str = "", why: str = ""
) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "problem": problem,
        "namespace": "",
        "detail": detail,
        "done": done,
        "why": why,
    }
