"""The engines that are measured: ours and every peer that is installed, each in a room of its own."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bench.client import Client
from hakobune.testing import peers
from hakobune.testing.engine import PrivateEngine
from hakobune.testing.peers import Peer
from hakobune.testing.room import Room


@dataclass(frozen=True)
class Engine:
    """A running engine. `processes` gives the pids of all that is its own, daemons and helpers."""

    name: str
    socket: str
    version: str
    processes: Callable[[], set[int]]


class _Ours(PrivateEngine):
    """A private engine that lives in a room, like its peers."""

    room: Room

    def command(self) -> list[str]:
        return self.room.command(*super().command())


@contextlib.contextmanager
def hakobune() -> Iterator[Engine]:
    """Ours: hakod, hako-containerd, zygote."""
    room = Room()
    ours = _Ours(root=room.root)
    ours.room = room
    try:
        with ours:
            assert ours.process is not None
            room.entered(ours.process.pid)
            yield Engine("hakobune", str(ours.socket), _version(str(ours.socket)), room.processes)
    finally:
        room.clear()


@contextlib.contextmanager
def peer(make: Callable[[], Peer]) -> Iterator[Engine]:
    """Somebody else's. Raises PeerFailed, OSError."""
    one = make()
    try:
        one.launch()
        version = one.wait_ready()
        yield Engine(one.kind, one.socket, version, one.room.processes)
    finally:
        one.stop()


_PEERS = {"dockerd": peers.dockerd, "podman": peers.podman}
KINDS: dict[str, Callable[[], AbstractContextManager[Engine]]] = {
    "hakobune": hakobune,
    **{name: functools.partial(peer, make) for name, make in _PEERS.items()},
}


def installed() -> tuple[list[str], list[str]]:
    """(engines that can be measured here, one line for each that cannot)."""
    reasons = {name: make().missing for name, make in _PEERS.items()}
    here = [name for name in KINDS if not reasons.get(name)]
    return here, [f"{name}: {reason}, left out" for name, reason in reasons.items() if reason]


def _version(socket: str) -> str:
    return str(Client(socket).call("GET", "/version")["Version"])
