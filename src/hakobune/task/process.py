"""One process of the task with everything the shim holds for it: life, streams, channel, waiters.

Imports: socket, lifecycle, stdio.
"""

from __future__ import annotations

from collections.abc import Callable

from hakobune.errors import HakoError
from hakobune.linux.sockets import Socket
from hakobune.record import dataclass, field
from hakobune.task.lifecycle import Life
from hakobune.task.loop import Timer
from hakobune.task.stdio import Stdio


@dataclass(slots=True)
class Spec:
    """What a Create or an Exec asked for. `process` is an exec's raw Process JSON, empty for init."""

    exec_id: str
    terminal: bool
    stdin: str
    stdout: str
    stderr: str
    process: bytes = b""


@dataclass(slots=True)
class Reply:
    """The two ways to answer a request, each used once."""

    done: Callable[..., None]
    failed: Callable[[HakoError], None]


@dataclass(slots=True)
class Member:
    """A process of the task. `exec_id` is empty for init."""

    spec: Spec
    life: Life
    stdio: Stdio | None = None
    channel: Socket | None = None
    pidfd: int = -1
    ahead: tuple[int, Socket] | None = None  # an exec's worker (pid, channel) that waits for its Start
    worker: int = 0
    worker_ended: bool = False
    pending: Reply | None = None  # the Create, or Start, that is under way
    failure: HakoError | None = None
    early: list[tuple[bytes, list[int]]] = field(
        default_factory=list
    )  # what it said before its pid was known
    waiters: list[Callable[[Life], None]] = field(default_factory=list)
    ready: bool = False  # it has said READY: from here on its end is an exit, not a failure to create
    told: bool = False  # its exit was published
    released: bool = False  # its clients have their answer
    deadline: Timer | None = None

    @property
    def settled(self) -> bool:
        """Nothing of it is under way: it waits for its start, runs, or has ended and that is told."""
        if self.pending is not None or self.early or (self.life.dead and not self.told):
            return False
        waits = self.channel is not None and self.life.state == "created"  # an init, for START
        return waits or (self.channel is None and (self.life.pid != 0) == (self.worker != 0))

    @property
    def exec_id(self) -> str:
        """Empty for the init process."""
        return self.spec.exec_id
