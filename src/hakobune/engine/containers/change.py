"""Small verbs that change a container: rename, pause, unpause, update, resize; and prune."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from hakobune.engine.containers import lifecycle, remove, request
from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.model import Container
from hakobune.engine.containers.spec import resources
from hakobune.engine.containers.store import check_name
from hakobune.engine.schema.filters import Filters
from hakobune.engine.schema.shape import checked
from hakobune.errors import Conflict, HakoError, InvalidArgument, NotFound


async def rename(deps: Deps, container: Container, name: str) -> None:
    """Raises InvalidArgument, Conflict."""
    if not name:
        raise InvalidArgument("Neither old nor new names may be empty")
    name = check_name(name)
    if name == container.name:
        raise InvalidArgument("Renaming a container with the same name as its current name")
    async with container.lock:
        old = container.name
        deps.store.rename(container, name)
    deps.tell(container, "rename", oldName=f"/{old}")


@contextlib.contextmanager
def _still_there(container: Container) -> Iterator[None]:
    """Its end may be known below and not yet here. Raises Conflict then."""
    try:
        yield
    except NotFound:
        raise Conflict(f"container {container.id} is not running") from None


async def pause(deps: Deps, container: Container, *, thaw: bool = False) -> None:
    """Freeze it; with `thaw`, an engine that takes over thaws it. Raises Conflict."""
    async with container.lock:
        status = container.state.status
        if status not in lifecycle.TABLE["pause"]:
            what = "already paused" if status == "paused" else "not running"
            raise Conflict(f"container {container.id} is {what}")
        if thaw:
            container.thaw = True
            deps.store.save(container)  # on record before it counts
        with _still_there(container):
            await deps.runtime.pause(container.id)
        container.state.status = "paused"
        deps.store.save(container)
    deps.tell(container, "pause")


async def unpause(deps: Deps, container: Container) -> None:
    """Thaw it. Raises Conflict."""
    async with container.lock:
        if container.state.status not in lifecycle.TABLE["unpause"]:
            raise Conflict(f"Container {container.id} is not paused")
        with _still_there(container):
            await deps.runtime.resume(container.id)
        container.state.status, container.thaw = "running", False
        deps.store.save(container)
    deps.tell(container, "unpause")


async def update(deps: Deps, container: Container, body: Any) -> list[str]:
    """New limits and restart policy; returns warnings. Raises InvalidArgument, and changes nothing then."""
    document = body if isinstance(body, dict) else {}
    table = {name: request.HOST[name] for name in (*request.RESOURCES, "RestartPolicy")}
    asked = checked(document, table, "UpdateConfig")
    changed = {name: value for name, value in asked.items() if document.get(name) and value is not None}
    if policy := changed.get("RestartPolicy"):
        request.check_policy(policy)
        if container.host["AutoRemove"] and (policy.get("Name") or "no") != "no":
            raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
    if changed.get("Memory") and "MemorySwap" not in changed and container.host["MemorySwap"] == 0:
        changed["MemorySwap"] = 0
    wanted = {**container.host, **changed}
    request.check_resources(wanted)
    async with container.lock:
        limits = {name: value for name, value in changed.items() if name != "RestartPolicy"}
        if limits and container.state.running:
            await deps.runtime.update(container.id, resources({**wanted}))
        container.host.update(changed)
        deps.store.save(container)
    deps.tell(container, "update")
    return []


async def resize(deps: Deps, container: Container, rows: int, columns: int) -> None:
    """The window size of its terminal. Raises Conflict when it does not run."""
    if rows <= 0 or columns <= 0:
        raise InvalidArgument(f"invalid size: {rows} rows and {columns} columns")
    if not container.state.running:
        raise Conflict(f"container {container.id} is not running")
    await deps.runtime.resize(container.id, rows, columns)
    deps.tell(container, "resize", height=str(rows), width=str(columns))


async def prune(deps: Deps, filters: Filters) -> dict[str, Any]:
    """Remove all that do not run; returns their ids and the bytes won."""
    filters.check(("label", "label!", "until"))
    deleted, space = [], 0
    for container in deps.store:
        if container.state.running or container.state.status == "restarting":
            continue
        if not filters.pruned(container.config["Labels"], container.created):
            continue
        try:
            used = await deps.runtime.usage(container.id)
            await remove.remove(deps, container)
        except HakoError:
            continue
        deleted.append(container.id)
        space += used
    return {"ContainersDeleted": deleted or None, "SpaceReclaimed": space}
