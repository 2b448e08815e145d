"""The end of a container, as the engine lives it: recorded, told to its clients, cleaned up, perhaps started again.

Order: the record is on disk before any client knows (RELEASE), the network and the task go next, and what
waits for a removal is answered when the container is gone. Imports: the room's own modules.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from hakobune.engine.containers import keeping, lifecycle, remove, start
from hakobune.engine.containers.deps import Deps, now
from hakobune.engine.containers.model import Container, Waiter
from hakobune.engine.containers.wait import CONDITIONS, answer, answer_ended
from hakobune.engine.http.message import Taken
from hakobune.engine.runtime import Ended
from hakobune.errors import HakoError, NotFound
from hakobune.failpoint import reach

KILLED = 137
SHIM_KILLED = "its shim was killed, and the container with it"


async def ended(deps: Deps, container: Container, end: Ended) -> None:
    """Live through one end. Ends that belong to an earlier life of the container are passed over."""
    async with container.lock:
        if not container.state.running or end.pid not in (container.state.pid, 0):
            return
        again = await _end(deps, container, end)
    if container.auto_remove:
        await _remove(deps, container)
    elif again:
        container.restart = asyncio.create_task(_restart(deps, container))


async def _end(deps: Deps, container: Container, end: Ended) -> bool:
    """Record, release, clean up; returns whether it is to start again."""
    reach("engine.exit.heard")
    await keeping.drain(deps, container)
    state = container.state
    ran = max(0.0, (end.at - state.started_at) / 1e9)
    state.status, state.pid = "exited", 0
    state.exit_code, state.finished_at = end.exit_code, end.at or now()
    if end.exit_code == KILLED and (container.side is None or container.side.closed):
        state.error = SHIM_KILLED
    again = lifecycle.restarts(
        container.host["RestartPolicy"],
        end.exit_code,
        container.restart_count,
        stopped=container.manually_stopped,
    )
    if again:
        state.status = "restarting"
        container.backoff = lifecycle.next_backoff(container.backoff, ran)
    container.network = {}
    deps.store.save_at_last(container)
    reach("engine.exit.recorded")
    await _release(container, end.exit_code)
    reach("engine.exit.released")
    deps.tell(container, "die", exitCode=str(end.exit_code), execDuration=str(int(ran)))
    try:
        await deps.runtime.delete(container.id)
    except HakoError as err:
        print(f"hakod: task of {container.short_id} not deleted: {err}", file=sys.stderr)
    reach("engine.exit.deleted")
    with contextlib.suppress(HakoError, OSError):
        await deps.networks.detach(container.id)
    deps.drop_side(container)
    keeping.drop(deps, container)
    container.execs.clear()
    reach("engine.exit.settled")
    container.ended.set()
    return again


async def _release(container: Container, status: int) -> None:
    """The shim may answer its clients; those that wait for the removal come back to us."""
    side, container.side = container.side, None
    lent, container.lent = container.lent, []
    told: tuple[str, ...] = ()  # the conditions that the shim, or a connection that came back, takes care of
    try:
        if side is not None:
            for client in await side.reclaim():
                container.waiters.append(Waiter(Taken(client, b""), "removed", b""))
            told = ("removed",)
            await side.release(status=status)
            told = CONDITIONS
    except HakoError:
        pass  # the shim was killed: its clients are answered here
    finally:
        if side is not None:
            side.close()
    for one in lent:
        answered = one.waiter.condition in told
        if not one.taken_over:
            one.orphaned = not answered  # who hands it over just now sees to it
        elif answered:
            one.waiter.taken.sock.close()
        else:
            container.waiters.append(one.waiter)
    answer_ended(container)


async def _remove(deps: Deps, container: Container) -> None:
    """`--rm`."""
    try:
        await remove.remove(deps, container, volumes=True)
    except NotFound:
        pass
    except HakoError as err:
        print(f"hakod: container {container.short_id} not removed: {err}", file=sys.stderr)
        _answer_all(container)


def _answer_all(container: Container) -> None:
    waiters, container.waiters = container.waiters, []
    for waiter in waiters:
        answer(waiter, container.state.exit_code)


async def _restart(deps: Deps, container: Container) -> None:
    """Start again after the back-off, for as long as the policy says so."""
    while True:
        await asyncio.sleep(container.backoff)
        async with container.lock:
            if container.state.status != "restarting" or container.removed:
                return
            container.restart_count += 1
            try:
                await start.launch(deps, container)
            except asyncio.CancelledError:  # the engine ends: the next one goes on where this one was
                container.restart_count -= 1
                container.state.status = "restarting"
                deps.store.save_at_last(container)
                raise
            except (HakoError, OSError):
                if not lifecycle.restarts(
                    container.host["RestartPolicy"], container.state.exit_code, container.restart_count,
                    stopped=container.manually_stopped,
                ):  # fmt: skip
                    return
                container.backoff = lifecycle.next_backoff(container.backoff, 0)
                container.state.status = "restarting"
                deps.store.save_at_last(container)
                continue
            container.restart = None
            return


async def out_of_memory(deps: Deps, container: Container) -> None:
    """The kernel killed in it. A start under way comes first: it sets out with a clean record."""
    async with container.lock:
        if container.removed:
            return
        container.state.oom_killed = True
        deps.store.save_at_last(container)
        deps.tell(container, "oom")
