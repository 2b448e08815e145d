"""What the worker of a creation does, as a message: a worker that was forked ahead gets it over its channel.

Imports: json; oci, task.worker, linux.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import InvalidArgument
from hakobune.linux import sockets
from hakobune.linux.pages import WrittenPages
from hakobune.linux.sockets import Socket
from hakobune.oci.config import Config
from hakobune.oci.init import messages, parent
from hakobune.oci.init.child import Streams, socket_gate
from hakobune.spec.mount import Mount
from hakobune.task import worker

MOST_SECONDS = 0x7FFFFFFF  # of a time limit: 68 years

SIDE_ANNOTATION = "io.hakobune.side"  # where the shim is to listen for an engine
POSTSTOP = "poststop"  # a file of the bundle: hooks that run when the container is gone
LIMIT_ANNOTATION = "io.hakobune.timeout"  # seconds from its start after which the container is killed


@dataclass(frozen=True, slots=True)
class Creation:
    """One container to be made out of its bundle, on the snapshot's mounts (may be none)."""

    id: str
    bundle: str
    rootfs: Sequence[Mount]

    def pack(self) -> bytes:
        """For `unpack`."""
        return json.dumps([self.id, self.bundle, [astuple(mount) for mount in self.rootfs]]).encode()

    @classmethod
    def unpack(cls, packet: bytes) -> Creation:
        """From another process of ours."""
        container_id, bundle, rootfs = json.loads(packet)
        return cls(container_id, bundle, [_mount(*fields) for fields in rootfs])

    def run(self, near: Socket, streams: Streams | None, planned: Callable[[], None] = lambda: None) -> None:
        """In a worker: make it and tell; see oci.init.messages. Raises as parent.create."""

        def made(cgroup: Cgroup, config: Config) -> None:
            limit = _limit(config.annotations.get(LIMIT_ANNOTATION, "0"))
            messages.say_cgroup(near, cgroup.path, f"{limit}\n{config.annotations.get(SIDE_ANNOTATION, '')}")

        request = parent.Request(
            self.bundle, self.rootfs, streams, near, socket_gate(near), filter=f"{self.bundle}/filter",
            poststop=f"{self.bundle}/{POSTSTOP}", made=made, planned=planned,
        )  # fmt: skip
        pid, _cgroup, _config = parent.create(request, self.id)
        messages.say_pid(near, pid)


class Ahead:
    """A worker that was forked before anybody knew for what. The end of its channel ends it."""

    def __init__(self, written: WrittenPages) -> None:
        """Fork it; `written` are the pages of workers. Raises OSError."""
        self.pid, self.channel = worker.start(lambda near: _obey(near, written))

    def begin(self, creation: Creation, streams: Streams | None) -> None:
        """It is for this one. Raises OSError when it has ended, or the message is too long for it."""
        packet = creation.pack()
        if len(packet) > messages.MAX_MESSAGE:
            raise OSError("a creation with that many mounts gets a worker of its own")
        if streams is None:
            self.channel.send(packet)
        else:
            sockets.send(self.channel, packet, streams.stdin, streams.stdout, streams.stderr)

    def drop(self) -> None:
        """It is for nobody."""
        self.channel.close()


def _obey(near: Socket, written: WrittenPages) -> None:
    written.copy_ahead()
    packet, fds = sockets.receive(near, messages.MAX_MESSAGE, 3)
    if packet:
        Creation.unpack(packet).run(near, Streams(*fds) if fds else None, written.learn)


def _mount(kind: str, source: str, target: str, options: Sequence[str]) -> Mount:
    return Mount(kind, source, target, tuple(options))


def _limit(text: str) -> int:
    """The annotation's seconds. Raises InvalidArgument."""
    if not text.isascii() or not text.isdigit() or int(text) > MOST_SECONDS:
        raise InvalidArgument(f"annotation {LIMIT_ANNOTATION}: {text!r} is no number of seconds")
    return int(text)
