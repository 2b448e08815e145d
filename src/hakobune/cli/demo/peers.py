"""Docker's and Podman's own engines for the table at the end: what they must offer, and the image they get."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from hakobune.layers import starter

from ..failure import Failure
from ..http import Client, quote
from .stage import Stage

_IMAGE = "localhost/hakobune-demo:latest"
_READY_SECONDS = 15.0  # for all of them together


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


@contextmanager
def running(stage: Stage, peers: Sequence[Peer]) -> Iterator[dict[str, tuple[Client, str]]]:
    """(client, image) by name of those that came up; the others get a line. All are gone after the block."""
    launched: list[Peer] = []
    try:
        for peer in peers:
            if _well(stage, peer):
                launched.append(peer)
        yield _ready(stage, launched)
    finally:
        with stage.undisturbed():
            for peer in launched:
                peer.stop()


def excuse(stage: Stage, name: str, why: object) -> None:
    """One line that says why an engine is not in the table."""
    words = " ".join(str(why).split())
    stage.tell(f"({name} is left out: {words})")


def _well(stage: Stage, peer: Peer) -> bool:
    """Launch one; false when that cannot be."""
    if peer.missing:
        excuse(stage, peer.name, peer.missing)
        return False
    with stage.undisturbed():
        try:
            peer.launch()
        except (OSError, RuntimeError) as err:
            excuse(stage, peer.name, err)
            peer.stop()
            return False
    return True
