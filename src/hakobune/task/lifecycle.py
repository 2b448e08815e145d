"""The life of one process of a task, sans I/O: init, or an exec.

    creating --made--> created --started--> running <--paused/resumed--> paused
        |                 |                    |                           |
        +----exited-------+------exited--------+----------exited-----------+--> stopped --deleted--> deleted

A child may exit before its worker has told its pid: `exited` is therefore legal in every living
state, and the order of `made` and `exited` does not matter. Texts are those of containerd's shims,
which clients know. Imports: errors.
"""

from __future__ import annotations

from hakobune.errors import FailedPrecondition


class Status:
    """containerd.v1.types.Status. Plain numbers: an enum costs pages in every shim."""

    UNKNOWN = 0
    CREATED = 1
    RUNNING = 2
    STOPPED = 3
    PAUSED = 4
    PAUSING = 5


class Event:
    """What can happen to a process, in the words of the error texts."""

    MADE = "made"
    STARTED = "start"
    EXITED = "exited"
    PAUSED = "pause"
    RESUMED = "resume"
    DELETED = "delete"


TABLE: dict[str, dict[str, str]] = {
    "creating": {Event.MADE: "created", Event.EXITED: "stopped", Event.DELETED: "deleted"},
    "created": {Event.STARTED: "running", Event.EXITED: "stopped"},
    "running": {Event.EXITED: "stopped", Event.PAUSED: "paused", Event.STARTED: "running"},
    "paused": {Event.RESUMED: "running", Event.EXITED: "stopped"},
    "stopped": {Event.DELETED: "deleted", Event.MADE: "stopped", Event.EXITED: "stopped"},
    "deleted": {},
}

_WIRE = {
    "creating": Status.UNKNOWN,
    "created": Status.CREATED,
    "running": Status.RUNNING,
    "paused": Status.PAUSED,
    "stopped": Status.STOPPED,
    "deleted": Status.UNKNOWN,
}


class Life:
    """Holds the state of one process; `feed` is the only way to change it."""

    __slots__ = ("exit_status", "exited_at", "kind", "pid", "state")

    def __init__(self, kind: str) -> None:
        self.kind = kind  # "container" or "exec process": the noun of the error texts
        self.state = "creating"
        self.pid = 0
        self.exit_status = 0
        self.exited_at = 0  # nanoseconds since the epoch, 0 while it lives

    def allows(self, event: str) -> bool:
        """Whether `feed` would take it."""
        return event in TABLE[self.state]

    def feed(self, event: str) -> None:
        """Go to the next state. Raises FailedPrecondition for an event that the state forbids."""
        target = TABLE[self.state].get(event)
        if target is None:
            raise FailedPrecondition(f"cannot {event} a {self._named()} {self.kind}")
        self.state = target

    def exited(self, status: int, at: int) -> None:
        """The kernel's word: exit status (128+n for signal n) and time in nanoseconds. Told once only."""
        if not self.exited_at:
            self.exit_status, self.exited_at = status, at
        self.feed(Event.EXITED)

    def _named(self) -> str:
        return self.state

    @property
    def status(self) -> int:
        """As it goes over the wire."""
        return _WIRE[self.state]

    @property
    def dead(self) -> bool:
        """Its exit is known."""
        return self.exited_at != 0


def exit_status(wait_status: int) -> int:
    """The status of wait(2) as shells and Docker count it."""
    code = wait_status & 0x7F
    return 128 + code if code else wait_status >> 8 & 0xFF
