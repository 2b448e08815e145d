"""An engine goes on as another installation's program, in the same process: what it leaves to that one.

Listening sockets stay open, so a client that comes meanwhile waits and is not refused. Clients that wait for a
container which does not run yet come along; those of running ones are the shims' already. Whoever asked for the
upgrade is told by the new program. One that cannot come up executes the old one again, with the reason.
The document travels in a memfd whose number is in the environment. Imports: asyncio, socket, linux.memfd.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hakobune.engine.containers.model import Container, Waiter, Waiting
from hakobune.engine.http.message import Taken
from hakobune.errors import FailedPrecondition
from hakobune.linux import memfd
from hakobune.version import VERSION

FORMAT = 1
MODULE = "hakobune.cmd.hakod"
_ENVIRONMENT = "HAKOD_SUCCESSION"
_TELL_SECONDS = 5.0  # for a client that does not read


@dataclass(slots=True)
class Succession:
    """From one engine to the next. `previous` is the release of the one that leaves, `back` its interpreter."""

    python: str  # of the one that comes
    client: int  # the connection of who asked, non-blocking
    previous: str = VERSION
    back: str = sys.executable
    failure: str = ""  # why the one that was to come is not the one that is there
    listeners: dict[str, list[int]] = field(default_factory=dict)  # by host
    parked: list[dict[str, Any]] = field(default_factory=list)
    running: dict[str, int] = field(default_factory=dict)  # init's pid by container

    @property
    def fds(self) -> list[int]:
        """All descriptors that it names."""
        listening = [fd for fds in self.listeners.values() for fd in fds]
        return [self.client, *listening, *(one["fd"] for one in self.parked)]

    # --- in the engine that leaves ---

    def park(self, containers: Iterable[Container]) -> None:
        """Take the clients that wait with a container, and note what runs."""
        for container in containers:
            if container.state.running:
                self.running[container.id] = container.state.pid
            for one in container.waiting:
                self.parked.append({
                    "id": container.id, "fd": os.dup(one.taken.sock.fileno()), "early": _text(one.taken.early),
                    "head": _text(one.head), "flags": one.flags, "detach_keys": _text(one.detach_keys),
                })  # fmt: skip
            for waiter in container.waiters:
                self.parked.append({
                    "id": container.id, "fd": os.dup(waiter.taken.sock.fileno()), "early": _text(waiter.taken.early),
                    "head": _text(waiter.head), "condition": waiter.condition,
                })  # fmt: skip

    def execute(self, argv: Sequence[str]) -> None:
        """Become the other program, or ourselves again where that cannot be. Raises OSError."""
        try:
            self._become(argv)
        except OSError as err:
            self.failure, self.python = f"{self.python}: {err}", sys.executable
            self._become(argv)

    def go_back(self, why: str, argv: Sequence[str]) -> None:
        """In the program that cannot come up: become the one that was there. Raises OSError; silent without one."""
        if self.back:
            self.failure, self.python, self.back = why, self.back, ""
            self._become(argv)

    def _become(self, argv: Sequence[str]) -> None:
        record = {name: getattr(self, name) for name in self.__slots__}
        memory = memfd.write({"format": FORMAT, **record})
        environment = {**os.environ, _ENVIRONMENT: str(memory)}
        memfd.keep([memory, *self.fds], True)
        try:
            os.execve(self.python, [self.python, "-I", "-m", MODULE, *argv], environment)
        finally:
            memfd.keep(self.fds, False)
            os.close(memory)

    # --- in the engine that comes ---

    def unpark(self, containers: Iterable[Container]) -> None:
        """The clients wait with their containers again; those whose container is gone are let go."""
        known = {container.id: container for container in containers}
        for one in self.parked:
            client = socket.socket(fileno=one["fd"])
            client.setblocking(False)
            taken, head = Taken(client, _data(one["early"])), _data(one["head"])
            container = known.get(one["id"])
            if container is None:
                client.close()
            elif "condition" in one:
                container.waiters.append(Waiter(taken, one["condition"], head))
            else:
                container.waiting.append(Waiting(taken, one["flags"], head, _data(one["detach_keys"])))
        self.parked.clear()

    def untouched(self, containers: Iterable[Container]) -> int:
        """How many of the containers that ran still do, as the same process."""
        now = {container.id: container.state.pid for container in containers if container.state.running}
        return sum(now.get(identity) == pid for identity, pid in self.running.items())

    # --- in both ---

    async def tell(self, **line: Any) -> None:
        """One line of JSON to who asked; silent when it has gone."""
        client = socket.socket(fileno=os.dup(self.client))
        client.setblocking(False)
        with client, contextlib.suppress(OSError, TimeoutError):
            data = json.dumps(line).encode() + b"\n"
            await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(client, data), _TELL_SECONDS)


def inherited(environment: MutableMapping[str, str]) -> Succession | None:
    """What an engine before us has left to this program. Raises FailedPrecondition, OSError, ValueError."""
    number = environment.pop(_ENVIRONMENT, "")
    if not number:
        return None
    memory = int(number)
    record = memfd.read(memory)
    os.close(memory)
    if record.pop("format") > FORMAT:
        raise FailedPrecondition("what the engine before has left is of a newer format")
    found = Succession(**{name: value for name, value in record.items() if name in Succession.__slots__})
    memfd.keep(found.fds, False)
    return found


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _data(text: str) -> bytes:
    return text.encode("latin-1")
