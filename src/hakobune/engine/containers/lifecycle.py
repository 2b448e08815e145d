"""The life of a container as the engine counts it, sans I/O: a table of statuses, and when to start again.

    created --start--> running <--pause/unpause--> paused
       |                  |  ^                        |
       |                exit  \\--start (by policy)    exit
       |                  v        |                  |
       |               exited  restarting <-----------+
       +----remove-------+---------+--> removing --> (gone, or dead when the removal failed)

Imports: errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hakobune.errors import Conflict, FailedPrecondition, NotModified

TABLE: dict[str, frozenset[str]] = {
    "start": frozenset({"created", "exited", "restarting", "dead"}),
    "exit": frozenset({"running", "paused"}),
    "pause": frozenset({"running"}),
    "unpause": frozenset({"paused"}),
    "remove": frozenset({"created", "exited", "dead", "restarting"}),
}

FIRST_BACKOFF = 0.1  # seconds
LAST_BACKOFF = 60.0
CALM_SECONDS = 10.0  # a container that ran this long has earned a new, short back-off


def may_start(status: str) -> None:
    """Raise NotModified when it runs already, Conflict when it cannot be started."""
    if status == "running":
        raise NotModified("already started")
    if status == "paused":
        raise Conflict("cannot start a paused container, try unpause instead")
    if status == "removing":
        raise Conflict("container is marked for removal and cannot be started")
    if status not in TABLE["start"]:
        raise FailedPrecondition(f"cannot start a {status} container")


def may_remove(status: str, name: str, *, force: bool) -> None:
    """Raise Conflict, with what to do, when a container in this status may not be removed."""
    advice = {
        "running": "container is running: stop the container before removing or force remove",
        "paused": "container is paused and must be unpaused first",
        "restarting": "container is restarting: stop the container before removing or force remove",
    }
    if status in advice and not force:
        raise Conflict(f'cannot remove container "/{name}": {advice[status]}')


def restarts(policy: Mapping[str, Any], exit_code: int, count: int, *, stopped: bool) -> bool:
    """Whether a container that ended with `exit_code` is started again.

    `count` are the restarts so far, `stopped` that a person ended it.
    """
    name = policy.get("Name") or "no"
    if stopped or name in ("no", ""):
        return False
    return _tries_again(policy, exit_code, count) if name == "on-failure" else True


def _tries_again(policy: Mapping[str, Any], exit_code: int, count: int) -> bool:
    most = int(policy.get("MaximumRetryCount") or 0)
    return exit_code != 0 and (most == 0 or count < most)


def restarts_at_boot(policy: Mapping[str, Any], exit_code: int, count: int, *, stopped: bool) -> bool:
    """Whether a container that ended while no engine looked is started when one comes.

    `always` also starts what a person had stopped, as Docker does when its daemon starts.
    """
    name = policy.get("Name") or "no"
    if name == "always":
        return True
    if name == "unless-stopped":
        return not stopped
    return name == "on-failure" and not stopped and _tries_again(policy, exit_code, count)


def next_backoff(last: float, ran: float) -> float:
    """Seconds to wait before the next start; `ran` is how long the container lived, in seconds."""
    if ran >= CALM_SECONDS or last <= 0:
        return FIRST_BACKOFF
    return min(last * 2, LAST_BACKOFF)
