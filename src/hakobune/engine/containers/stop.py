"""stop, kill and restart: a signal, some patience, and the kernel's last word."""

from __future__ import annotations

import asyncio
import contextlib

from hakobune.engine.containers import start
from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.model import Container
from hakobune.engine.containers.request import signal_number
from hakobune.errors import Conflict, HakoError, NotFound, NotModified, Unavailable

PATIENCE = 10  # seconds between the stop signal and SIGKILL
KILLED_WITHIN = 30.0  # seconds that the kernel may need for a SIGKILL
_SIGKILL = 9


async def stop(deps: Deps, container: Container, timeout: int | None, signal: str = "") -> None:
    """End it gently: `timeout` in seconds, -1 for ever, None for the container's own. Raises NotModified."""
    if container.state.status == "restarting" and await _give_up_restart(deps, container):
        return
    if not container.state.running:
        raise NotModified("container is not running")
    container.manually_stopped = True
    deps.store.save_at_last(container)
    number = signal_number(signal or container.config["StopSignal"] or "TERM")
    own = container.config["StopTimeout"]
    seconds = timeout if timeout is not None else own if own is not None else PATIENCE
    await _gently(deps, container, number, seconds)
    deps.tell(container, "stop")


async def _gently(deps: Deps, container: Container, signal: int, seconds: int) -> None:
    if container.state.status == "paused":
        await _thaw(deps, container)
    if seconds != 0:
        deps.tell(container, "kill", signal=str(signal))
        await _quietly(deps.runtime.kill(container.id, signal))
        try:
            await asyncio.wait_for(container.ended.wait(), None if seconds < 0 else seconds)
            return
        except TimeoutError:
            pass
    await end(deps, container)


async def end(deps: Deps, container: Container) -> None:
    """SIGKILL to everything in it, and wait until it is over. Raises HakoError when the kernel does not manage."""
    container.manually_stopped = True
    deps.tell(container, "kill", signal=str(_SIGKILL))
    await _quietly(deps.runtime.kill(container.id, _SIGKILL, everyone=True))
    if container.state.status == "paused":
        await _thaw(deps, container)
    try:
        await asyncio.wait_for(container.ended.wait(), KILLED_WITHIN)
    except TimeoutError as err:
        raise HakoError(
            f"container {container.name} did not end within {KILLED_WITHIN:.0f} s of SIGKILL: "
            "a process of it hangs in the kernel"
        ) from err


async def _thaw(deps: Deps, container: Container) -> None:
    """What is frozen hears no signal. Another client may have been quicker."""
    with contextlib.suppress(HakoError):
        await deps.runtime.resume(container.id)
    if container.state.status == "paused":
        container.state.status = "running"


async def _quietly(call: object) -> None:
    """A signal to what has ended already is no error; of what the signal did not reach, the end is told."""
    try:
        await call  # type: ignore[misc]
    except (NotFound, Unavailable):
        pass
    except HakoError as err:
        if "not running" not in str(err) and "stopped" not in str(err):
            raise


async def _give_up_restart(deps: Deps, container: Container) -> bool:
    """Start it no more; false when it has been started meanwhile."""
    async with container.lock:
        container.manually_stopped = True
        if container.state.running:
            return False
        if container.restart is not None:
            container.restart.cancel()
            container.restart = None
        if container.state.status == "restarting":
            container.state.status = "exited"
            deps.store.save_at_last(container)
    return True


async def kill(deps: Deps, container: Container, signal: str) -> None:
    """Send one signal. Raises Conflict when it does not run, InvalidArgument for no signal."""
    number = signal_number(signal or "KILL")
    if not container.state.running:
        raise Conflict(f"cannot kill container: {container.name}: container {container.id} is not running")
    container.manually_stopped = True
    if number == _SIGKILL:
        await end(deps, container)
        return
    try:
        await deps.runtime.kill(container.id, number)
    except NotFound as err:
        raise Conflict(
            f"cannot kill container: {container.name}: container {container.id} is not running"
        ) from err
    deps.store.save_at_last(container)
    deps.tell(container, "kill", signal=str(number))


async def restart(deps: Deps, container: Container, timeout: int | None, signal: str = "") -> None:
    """Stop when it runs, then start. An auto-removed container is kept over it."""
    container.kept += 1
    try:
        try:
            await stop(deps, container, timeout, signal)
        except NotModified:
            pass
        try:
            await start.start(deps, container)
        except NotModified:
            pass  # somebody else was quicker
    finally:
        container.kept -= 1
    deps.tell(container, "restart")
