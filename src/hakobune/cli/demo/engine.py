"""What the story needs of the private engine that it plays on; the program wires a real one in."""

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
