"""GET /containers/{id}/export and /changes: all its files as one archive, and what it has changed of its image's."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.filesystem import looking, run, view
from hakobune.engine.containers.model import Container
from hakobune.errors import Conflict, NotFound
from hakobune.files.view import View, below, layers


async def export(deps: Deps, container: Container) -> AsyncGenerator[bytes, None]:
    """The archive, its program started: volumes are left out, as Docker does. Raises NotFound, Conflict.

    A container that is removed meanwhile cuts the stream: what is left of it must not look whole.
    """
    check(container, "export")
    parts = _export(deps, container)
    await anext(parts)
    deps.tell(container, "export")
    return parts


async def _export(deps: Deps, container: Container) -> AsyncGenerator[bytes, None]:
    """First an empty part, as soon as the files are in sight."""
    async with looking(deps, container, "export", whole=False) as program:
        await program.line()
        yield b""
        async for part in program.parts():
            if container.removed or container.state.status == "removing":
                raise NotFound(f"container {container.id} was removed while it was exported")
            yield part


async def changes(deps: Deps, container: Container) -> list[dict[str, Any]] | None:
    """In the API's words; None for none. Raises NotFound."""
    check(container, "look at")
    mounts = (await view(deps, container, whole=True)).mounts
    lower = View(deps.directory(container), below(mounts))
    found = []
    async with run(["changes", lower.text(), layers(mounts)[0]]) as program:
        while (line := await program.line()) is not None:
            found.append({"Path": line[0], "Kind": line[1]})
    return found or None


def check(container: Container, verb: str) -> None:
    """Raise Conflict when it is half gone."""
    if container.state.status in ("dead", "removing"):
        what = "Dead" if container.state.status == "dead" else "being removed"
        raise Conflict(f"You cannot {verb} container {container.id} which is {what}")
