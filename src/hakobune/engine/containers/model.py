"""A container as the engine knows it: what was asked for, how it stands, and what this process holds for it.

`config` and `host` are the documents of the Docker API (Config, HostConfig), checked and completed by
`request`; everything under `Container` down to `record` is persistent (`store`), the rest is rebuilt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, field
from typing import Any

from hakobune.engine.http.message import Taken
from hakobune.shim.client import Side
from hakobune.spec.mount import Mount


@dataclass(slots=True)
class State:
    """Where a container stands. Times in nanoseconds since the epoch, 0 for never."""

    status: str = "created"
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: int = 0
    finished_at: int = 0

    @property
    def running(self) -> bool:
        """Docker's word: also while paused."""
        return self.status in ("running", "paused")


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A volume or a directory of the host in the container. `source` is the path on the host."""

    type: str  # bind, volume, tmpfs
    source: str
    target: str
    name: str = ""
    read_only: bool = False
    mode: str = ""
    propagation: str = ""
    anonymous: bool = False
    copy: bool = True
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A client that attached before the start: handed to the shim with its birth."""

    taken: Taken
    flags: int
    head: bytes
    detach_keys: bytes


@dataclass(frozen=True, slots=True)
class Waiter:
    """A client that waits for an end. `condition` is next-exit, not-running or removed."""

    taken: Taken
    condition: str
    head: bytes


@dataclass(slots=True, eq=False)
class Lent:
    """A copy of a waiting client's connection that goes to the shim, to answer on it should the shim be killed."""

    waiter: Waiter
    taken_over: bool = False  # the shim has said that it has it
    orphaned: bool = False  # the shim went before it had said so


@dataclass(slots=True)
class Container:
    """One container. Only the verbs of this room change it, holding `lock`."""

    id: str
    name: str
    created: int
    image: str  # id
    image_name: str  # as the client wrote it
    chain: str  # the snapshot on which its own lies
    config: dict[str, Any]
    host: dict[str, Any]
    endpoints: dict[str, Any]  # network name -> EndpointSettings as asked for
    mounts: tuple[MountPoint, ...] = ()
    state: State = field(default_factory=State)
    restart_count: int = 0
    manually_stopped: bool = False
    drop_volumes: bool = False  # its removal takes nameless volumes along
    thaw: bool = False  # a commit has frozen it, and is to thaw it
    network: dict[str, Any] = field(default_factory=dict)  # NetworkSettings as they are, while it runs

    # what is below belongs to this process and dies with it
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    side: Side | None = None
    rootfs: tuple[Mount, ...] = ()
    waiting: list[Waiting] = field(default_factory=list)
    waiters: list[Waiter] = field(default_factory=list)
    lent: list[Lent] = field(
        default_factory=list
    )  # waits in the shim's hands: ours to answer if it is killed
    kept: int = 0  # restarts by clients under way: over them it is not removed at its end
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # set while no task runs
    removed: bool = False
    execs: dict[str, Any] = field(default_factory=dict)
    restart: asyncio.Task[None] | None = None
    chores: set[asyncio.Task[None]] = field(default_factory=set)  # what is done for it beside the verbs
    backoff: float = 0.0
    size: int = 0

    def __post_init__(self) -> None:
        if not self.state.running:
            self.ended.set()

    def chore(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it done; the engine's end cuts it."""
        task = asyncio.create_task(work)
        self.chores.add(task)
        task.add_done_callback(self.chores.discard)

    @property
    def tty(self) -> bool:
        """Whether it has a terminal."""
        return bool(self.config.get("Tty"))

    @property
    def networked(self) -> bool:
        """Whether the engine holds a place in a network for it: not with another container's, nor with none."""
        mode = self.host["NetworkMode"]
        return not mode.startswith("container:") and (mode != "none" or bool(self.endpoints))

    @property
    def auto_remove(self) -> bool:
        """`--rm`; not while a client restarts it."""
        return bool(self.host.get("AutoRemove")) and not self.kept

    @property
    def short_id(self) -> str:
        """The twelve digits that people see."""
        return self.id[:12]

    def attributes(self) -> dict[str, str]:
        """What an event says about it."""
        return {**(self.config.get("Labels") or {}), "image": self.image_name, "name": self.name}

    def record(self) -> dict[str, Any]:
        """Its persistent part, for JSON; `from_record` is the inverse."""
        return {
            "id": self.id,
            "name": self.name,
            "created": self.created,
            "image": self.image,
            "image_name": self.image_name,
            "chain": self.chain,
            "config": self.config,
            "host": self.host,
            "endpoints": self.endpoints,
            "mounts": [asdict(mount) for mount in self.mounts],
            "state": asdict(self.state),
            "restart_count": self.restart_count,
            "manually_stopped": self.manually_stopped,
            "drop_volumes": self.drop_volumes,
            "thaw": self.thaw,
            "network": self.network,
        }


def from_record(record: dict[str, Any]) -> Container:
    """A container out of its stored record."""
    fields = dict(record)
    fields["state"] = State(**record["state"])
    fields["mounts"] = tuple(
        MountPoint(**{**mount, "options": tuple(mount["options"])}) for mount in record["mounts"]
    )
    return Container(**fields)
