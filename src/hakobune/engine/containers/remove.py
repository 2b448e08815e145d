"""DELETE /containers/{id}: marked first, then taken apart piece by piece, so that a crash goes on where it was."""

from __future__ import annotations

import asyncio
import shutil

from hakobune.engine.containers import lifecycle, start, stop
from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.model import Container
from hakobune.engine.containers.wait import answer
from hakobune.errors import Conflict, HakoError, NotFound, NotModified
from hakobune.failpoint import reach


async def remove(deps: Deps, container: Container, *, force: bool = False, volumes: bool = False) -> None:
    """Remove it, with `volumes` also those that have no name. Raises Conflict while it runs, unless `force`."""
    if container.state.status == "removing" and container.lock.locked():
        raise Conflict(f"removal of container {container.name} is already in progress")
    lifecycle.may_remove(container.state.status, container.name, force=force)
    if container.state.running:
        await stop.end(deps, container)
    async with container.lock:
        if container.removed:
            raise NotFound(f"No such container: {container.id}")
        lifecycle.may_remove(container.state.status, container.name, force=force)
        if container.restart is not None:
            container.restart.cancel()
        container.state.status = "removing"
        container.drop_volumes = volumes
        deps.store.save_at_last(container)  # on a full disk it is what helps
        reach("engine.remove.marked")
        await take_apart(deps, container)


async def start_or_remove(deps: Deps, container: Container) -> None:
    """Start it for a client; a container that is to be removed at its end is removed when it cannot even start."""
    try:
        await start.start(deps, container)
    except (NotModified, Conflict):
        raise
    except HakoError:
        if container.auto_remove and not container.state.running and not container.removed:
            await remove(deps, container, volumes=True)
        raise


async def take_apart(deps: Deps, container: Container) -> None:
    """Everything of a container whose removal is recorded; the caller holds the lock. Idempotent."""
    try:
        await deps.runtime.delete(container.id)
        deps.drop_side(container)
        reach("engine.remove.task")
        await deps.networks.detach(container.id)
        reach("engine.remove.network")
        await deps.runtime.discard(container.id)
        reach("engine.remove.snapshot")
    except HakoError as err:
        container.state.status, container.state.error = "dead", str(err)
        deps.store.save_at_last(container)
        raise
    for point in container.mounts:
        if point.type == "volume":
            deps.volumes.release(point.name, container.id)
            if container.drop_volumes and point.anonymous:
                _drop_volume(deps, point.name)
    reach("engine.remove.volumes")
    await asyncio.to_thread(shutil.rmtree, deps.directory(container), ignore_errors=True)
    deps.execs.forget(container.id)
    reach("engine.remove.directory")
    deps.store.remove(container)
    reach("engine.remove.forgotten")
    container.removed = True
    container.ended.set()
    deps.tell(container, "destroy")
    waiters, container.waiters = container.waiters, []
    for waiter in waiters:
        answer(waiter, container.state.exit_code)
    for client in container.waiting:
        client.taken.sock.close()
    container.waiting.clear()


def _drop_volume(deps: Deps, name: str) -> None:
    try:
        deps.volumes.remove(name)
    except HakoError:
        pass  # another container has it too
