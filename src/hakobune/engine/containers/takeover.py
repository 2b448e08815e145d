"""What a new engine does with the containers of the one before it: adopt, bury, finish, start.

Each container is settled by itself; one that cannot be settled is told and does not hold up the others.
Imports: the room's own modules.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys

from hakobune.engine.containers import change, exits, keeping, lifecycle, remove, start
from hakobune.engine.containers.deps import Deps, now
from hakobune.engine.containers.model import Container
from hakobune.engine.runtime import Ended, Standing
from hakobune.errors import HakoError, NotFound

PATIENCE_SECONDS = 10.0  # with a shim that does not answer
SLOW = "unknown"  # the status of a task whose shim does not answer in time: nobody knows of an end
LOST = 255  # the exit code when nobody saw the end, as after a reboot


async def take_over(deps: Deps) -> None:
    """Settle every container on record; returns when all are."""
    standing = await deps.runtime.standing()
    known = {container.id for container in deps.store}
    # a start that was cut may still be at work below: what it makes is taken away before anything else
    cut = set(await deps.runtime.records()) & known - standing.keys()
    await asyncio.gather(*(_taken_away(deps, identity) for identity in cut))
    await asyncio.gather(*(_settled(deps, container, standing.get(container.id)) for container in deps.store))
    for identity in standing.keys() - known:
        await _taken_away(deps, identity)
        with contextlib.suppress(HakoError):
            await deps.runtime.discard(identity)


async def _taken_away(deps: Deps, identity: str) -> None:
    """A task and its record below, which no container of ours has."""
    try:
        await deps.runtime.delete(identity)
    except HakoError as err:
        print(f"hakod: task {identity[:12]} of no container: {err}", file=sys.stderr)


async def sweep(deps: Deps) -> None:
    """Take away what a create left that was cut before its container was on record."""
    known = {container.id for container in deps.store}
    for identity in await deps.runtime.records():
        if identity not in known:
            await deps.runtime.delete(identity)
    for identity in await deps.runtime.snapshots():
        if identity not in known:
            await deps.runtime.discard(identity)
    for name in os.listdir(deps.root):
        if name not in known:
            await asyncio.to_thread(shutil.rmtree, os.path.join(deps.root, name), ignore_errors=True)
    _sweep_sides(deps)
    deps.volumes.keep_users(known)
    await deps.networks.keep(known)
    deps.execs.keep(known)


def _sweep_sides(deps: Deps) -> None:
    """Sockets of shims, and directories of keepers, that belong to no container on record."""
    known = {
        os.path.basename(path(container)) for container in deps.store for path in (deps.side_path, deps.fifos)
    }
    for name in set(os.listdir(deps.sides)) - known:
        path = os.path.join(deps.sides, name)
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.unlink(path)


async def _settled(deps: Deps, container: Container, task: Standing | None) -> None:
    try:
        await _settle(deps, container, task)
    except (HakoError, OSError) as err:
        print(f"hakod: container {container.short_id} not taken over: {err}", file=sys.stderr)


async def _settle(deps: Deps, container: Container, task: Standing | None) -> None:
    state = container.state
    if state.status == "removing":
        async with container.lock:
            await remove.take_apart(deps, container)
        return
    if state.running and task is not None and task.status == SLOW:
        task = await _asked_again(deps, container, task)
    alive = task is not None and task.status in ("running", "paused", SLOW)
    if state.running and alive and task is not None:
        await _adopt(deps, container, task)
    elif state.running:
        await _bury(deps, container, task)
    elif task is not None and _unrecorded(container, task):
        if state.status == "restarting":
            container.restart_count += 1
        state.status, state.pid = "running", task.pid
        state.started_at = now() if alive else min(now(), task.exited_at)
        container.ended.clear()
        await (_adopt if alive else _bury)(deps, container, task)
    else:
        await _tidy(deps, container, task)


async def _asked_again(deps: Deps, container: Container, task: Standing) -> Standing | None:
    """How it stands, for a shim that was too slow for the list; as before when it is still silent."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await deps.runtime.process_standing(container.id)
    except NotFound:
        return None
    except (TimeoutError, HakoError):
        return task


def _unrecorded(container: Container, task: Standing) -> bool:
    """It was started, and the engine died before it had recorded that; perhaps it has ended since."""
    state = container.state
    if state.status not in ("created", "exited", "restarting"):
        return False
    ended = task.status == "stopped" and task.exited_at != state.finished_at
    return ended or task.status in ("running", "paused")


async def _adopt(deps: Deps, container: Container, task: Standing) -> None:
    """It never noticed."""
    if task.status != SLOW:
        container.state.status, container.state.pid = task.status, task.pid
    container.rootfs = ()
    await _ask_for_oom(deps, container)
    container.side = await start.side_of(deps, container)
    if container.networked:
        try:
            container.network = start.settings(await deps.networks.adopt(container.id, container.state.pid))
        except HakoError as err:  # its end will be told, so it must not be lost for that
            print(f"hakod: network of container {container.short_id}: {err}", file=sys.stderr)
    deps.store.save(container)
    if container.thaw:  # an engine died over a commit of it
        container.thaw = False
        if container.state.status == "paused":
            await change.unpause(deps, container)


async def _bury(deps: Deps, container: Container, task: Standing | None) -> None:
    """It ended while no engine was there."""
    try:
        container.side = await start.side_of(deps, container)
    except HakoError:
        container.side = None
    code, at = (task.exit_code, task.exited_at) if task is not None else (LOST, now())
    if task is not None:
        await _ask_for_oom(deps, container)
    policy = container.host["RestartPolicy"]
    again = lifecycle.restarts_at_boot(
        policy, code, container.restart_count, stopped=container.manually_stopped
    )
    await exits.ended(deps, container, Ended(container.id, container.id, 0, code, at))
    if again and not container.removed and container.restart is None:
        await start.start(deps, container)


async def _ask_for_oom(deps: Deps, container: Container) -> None:
    """Whether the kernel killed in it while nobody told us: the control group has kept count."""
    if not container.host["Memory"]:
        return
    with contextlib.suppress(HakoError):  # a foreign shim, or one that was killed with all it knew
        stats = await deps.runtime.stats(container.id)
        if (stats.get("memory") or {}).get("oom", {}).get("oom_kill"):
            container.state.oom_killed = True


async def _tidy(deps: Deps, container: Container, task: Standing | None) -> None:
    """It does not run: nothing of it may be left below; perhaps it is to run now."""
    if task is not None:
        await deps.runtime.delete(container.id)
    await deps.networks.detach(container.id)
    keeping.drop(deps, container)
    if container.auto_remove and container.state.started_at:
        await remove.remove(deps, container, volumes=True)
        return
    policy = container.host["RestartPolicy"]
    wanted = container.state.status == "restarting" or (
        container.state.started_at
        and lifecycle.restarts_at_boot(
            policy, container.state.exit_code, container.restart_count, stopped=container.manually_stopped
        )
    )
    if wanted:
        if container.state.status == "restarting":
            container.state.status = "exited"
            container.restart_count += 1
        await start.start(deps, container)


async def catch_up(deps: Deps, container: Container) -> Ended | None:
    """The manager was away: the end of a container that it had nobody to tell, if there was one."""
    async with container.lock:  # a start under way may meet its end before it is on record
        if not container.state.running:
            return None
        pid = container.state.pid
        try:
            task = await deps.runtime.process_standing(container.id)
        except NotFound:
            return Ended(container.id, container.id, pid, LOST, now())
        await _ask_for_oom(deps, container)
    if task.status != "stopped":
        return None
    return Ended(container.id, container.id, pid, task.exit_code, task.exited_at)
