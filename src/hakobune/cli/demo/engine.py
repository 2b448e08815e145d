"""What the story needs of the private engine that it plays on, and of its peers; the program wires real ones in."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Engine(Protocol):
    """A hakod with roots, bridge and socket of its own."""

    @property
    def root(self) -> Path:
        """Everything that it keeps is beneath."""

    @property
    def host(self) -> str:
        """The value of DOCKER_HOST."""

    @property
    def bridge(self) -> str:
        """Name of the default bridge's link."""

    def start(self) -> object:
        """Start hakod, and return when it answers. Raises AssertionError with the log."""

    def kill(self) -> list[int]:
        """SIGKILL to both daemons; returns their pids when they are gone."""

    def daemons(self) -> dict[str, int]:
        """Pids of hakod, hako-containerd and zygote by name; those that run."""

    def stop(self, *, check: bool = True) -> None:
        """Remove all and end. Raises AssertionError when something is left on the host."""


class Peer(Protocol):
    """An engine of somebody else's that can be started privately; the program wires real ones in."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def missing(self) -> str:
        """Why it cannot be started on this host, or nothing."""

    @property
    def host(self) -> str:
        """The value of DOCKER_HOST, once it was launched."""

    def launch(self) -> None:
        """Start it, without waiting. Raises OSError, RuntimeError."""

    def wait_ready(self, seconds: float) -> str:
        """Wait until it answers; its version. Raises OSError, RuntimeError."""

    def stop(self) -> None:
        """Take it and everything of it away; harmless when it was never launched."""
