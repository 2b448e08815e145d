"""What a task needs of an OCI runtime, as a Protocol of its own; and what is asked of it, as plain values.

A container's processes are made either by the code in this process's image (task/builtin.py) or by a program with
runc's command line (task/external.py). Its methods are called in a throw-away worker, which speaks to
the shim over `near` in the messages of oci.init.messages: CGROUP, PID and READY of what was made, FAILED else.
Imports: json; linux, oci.init, spec.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Protocol

from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import InvalidArgument
from hakobune.linux.sockets import Socket
from hakobune.oci.init.child import Streams
from hakobune.record import astuple, dataclass, field
from hakobune.spec.mount import Mount

MOST_SECONDS = 0x7FFFFFFF  # of a time limit: 68 years

SIDE_ANNOTATION = "io.hakobune.side"  # where the shim is to listen for an engine
LIMIT_ANNOTATION = "io.hakobune.timeout"  # seconds from its start after which the container is killed


@dataclass(frozen=True, slots=True)
class Program:
    """Which runtime: a path, or a name to be found in PATH, with runc's command line; "" is the one built in."""

    name: str = ""
    root: str = ""  # where it keeps its state; "": in the bundle, so that it goes with that
    systemd: bool = False  # control groups by systemd

    def pack(self) -> list[str | bool]:
        """For `Program(*packed)`."""
        return [self.name, self.root, self.systemd]


@dataclass(frozen=True, slots=True)
class Creation:
    """One container to be made out of its bundle, on the snapshot's mounts (may be none)."""

    id: str
    bundle: str
    rootfs: Sequence[Mount]
    program: Program = field(default_factory=Program)

    def pack(self) -> bytes:
        """For `unpack`."""
        mounts = [astuple(mount) for mount in self.rootfs]
        return json.dumps([self.id, self.bundle, mounts, self.program.pack()]).encode()

    @classmethod
    def unpack(cls, packet: bytes) -> Creation:
        """From another process of ours."""
        container_id, bundle, rootfs, program = json.loads(packet)
        return cls(container_id, bundle, [_mount(*fields) for fields in rootfs], Program(*program))


@dataclass(frozen=True, slots=True)
class Running:
    """A container that stands: where, and its init process by number and descriptor."""

    id: str
    bundle: str
    cgroup: Cgroup
    pid: int
    pidfd: int


STARTED, GONE = "poststart", "poststop"  # the names of the hooks


class Runtime(Protocol):
    """Makes and changes the processes of one container. Everything raises HakoError or OSError."""

    gated: bool  # init waits on the channel of its creation for START; if not, `start` lets it run

    def create(
        self, creation: Creation, near: Socket, streams: Streams | None, planned: Callable[[], None]
    ) -> None:
        """Make init, which waits; None for streams: a terminal. `planned` is called when only the making is left."""

    def start(self, container: Running) -> None:
        """Let init run; not for one that is gated."""

    def exec(self, container: Running, process: bytes, near: Socket, planned: Callable[[], None]) -> None:
        """Get ready, wait for START with the streams, make one more process; `process` is runtime-spec's JSON.

        `planned` is called when only the process itself is left to be made, wherever that is.
        """

    def update(self, container: Running, resources: bytes) -> None:
        """New limits: runtime-spec's linux.resources as JSON."""

    def owes(self, event: str, bundle: str) -> bool:
        """Whether `after` has anything to do; called in the shim itself."""

    def after(self, event: str, container_id: str, bundle: str) -> Sequence[str]:
        """Init runs (STARTED), or the container has gone (GONE): what is to be done then, with lines about what went
        wrong. May be called twice."""


def note(annotations: dict[str, str]) -> str:
    """What the shim wants to know of a container, as the note of `messages.say_cgroup`. Raises InvalidArgument."""
    limit = annotations.get(LIMIT_ANNOTATION, "0")
    if not limit.isascii() or not limit.isdigit() or int(limit) > MOST_SECONDS:
        raise InvalidArgument(f"annotation {LIMIT_ANNOTATION}: {limit!r} is no number of seconds")
    return f"{int(limit)}\n{annotations.get(SIDE_ANNOTATION, '')}"


def _mount(kind: str, source: str, target: str, options: Sequence[str]) -> Mount:
    return Mount(kind, source, target, tuple(options))
