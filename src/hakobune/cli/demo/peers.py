"""Docker's and Podman's own engines for the table at the end: started, given the image, stopped again."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hakobune.layers import starter

from ..failure import Failure
from ..http import Client, query
from .engine import Peer
from .stage import Stage

_IMAGE = "localhost/hakobune-demo:latest"
_READY_SECONDS = 15.0  # for all of them together
_PATIENCE = 10.0  # seconds, for one piece of an answer
_MOST = 300  # characters of a reason


@contextmanager
def running(stage: Stage) -> Iterator[dict[str, tuple[Client, str]]]:
    """(client, image) by name of those that came up; the others get a line. All are gone after the block."""
    touched: list[Peer] = []
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)  # none of them may keep the story waiting
    try:
        coming = [peer for peer in stage.peers if _launched(stage, peer, touched)]
        end = time.monotonic() + _READY_SECONDS
        yield dict(found for peer in coming if (found := _prepared(stage, peer, end)))
    finally:
        with stage.undisturbed():
            for peer in touched:
                _stop(stage, peer)
            socket.setdefaulttimeout(before)


def excuse(stage: Stage, name: str, why: object) -> None:
    """One sentence that says why an engine is not in the table."""
    words = " ".join(str(why).split()).removeprefix("Error response from daemon: ")
    stage.tell(f"({name} is not in the table: {words[:_MOST]})")


def _launched(stage: Stage, peer: Peer, touched: list[Peer]) -> bool:
    """Start one and do not wait; a sentence and false when that cannot be."""
    if peer.missing:
        excuse(stage, peer.name, peer.missing)
        return False
    touched.append(peer)
    with stage.undisturbed():
        try:
            peer.launch()
        except (OSError, RuntimeError) as err:
            excuse(stage, peer.name, err)
            return False
    return True


def _prepared(stage: Stage, peer: Peer, end: float) -> tuple[str, tuple[Client, str]] | None:
    """One that answers and has the image; None and a sentence when that cannot be."""
    try:
        version = peer.wait_ready(max(1.0, end - time.monotonic()))
        client = Client(peer.host)
        _give_image(client)
    except (Failure, OSError, RuntimeError, ValueError) as err:
        excuse(stage, peer.name, err)
        return None
    return f"{peer.name} {_short(version)}", (client, _IMAGE)


def _short(version: str) -> str:
    return ".".join(version.partition("+")[0].split(".")[:2])


def _give_image(client: Client) -> None:
    """The same files that ours made hako/starter of. Raises Failure."""
    name, _, tag = _IMAGE.rpartition(":")
    where = f"/images/create{query(fromSrc='-', repo=name, tag=tag)}"
    with tempfile.TemporaryFile() as file:
        starter.write_tar(file)
        file.seek(0)
        for event in client.open("POST", where, stream=iter(lambda: file.read(1 << 16), b"")).lines():
            if isinstance(event, dict) and event.get("error"):
                raise Failure(event["error"])


def _stop(stage: Stage, peer: Peer) -> None:
    try:
        peer.stop()
    except (OSError, RuntimeError) as err:
        stage.claim(f"{peer.name}'s engine is stopped", False, otherwise=str(err))
