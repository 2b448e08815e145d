"""Other engines, started privately for measuring, leave nothing: also when they are stopped half started."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hakobune.cli.http import Client
from hakobune.layers import starter
from hakobune.testing import peers
from hakobune.testing.peers import Peer, PeerFailed
from hakobune.testing.processes import command_lines

pytestmark = [pytest.mark.root, pytest.mark.slow]

MAKERS = {"dockerd": peers.dockerd, "podman": peers.podman}


@pytest.fixture(params=list(MAKERS))
def other(request: pytest.FixtureRequest, peer: Callable[[str], Path]) -> Peer:
    peer(request.param)
    return MAKERS[request.param]()


def _look() -> set[str]:
    """Links of the host, and control groups of rooms."""
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob("*/hb-*")]
    return {*os.listdir("/sys/class/net"), *groups}


def _gone(root: Path) -> bool:
    return not root.exists() and not any(str(root) in line for _, line in command_lines())


def _run_sleep(client: Client) -> None:
    layer = io.BytesIO()
    starter.write_tar(layer)
    list(
        client.open(
            "POST", "/images/create?fromSrc=-&repo=localhost/peer&tag=latest", stream=[layer.getvalue()]
        ).lines()
    )
    limits = [{"Name": name, "Soft": 4096, "Hard": 4096} for name in ("nofile", "nproc")]
    body = {"Image": "localhost/peer:latest", "Cmd": ["sleep", "600"], "HostConfig": {"Ulimits": limits}}
    identity = client.post("/containers/create", body)["Id"]
    client.post(f"/containers/{identity}/start")


def test_nothing_is_left_of_a_peer_with_a_container(other: Peer) -> None:
    before = _look()
    other.launch()
    root = other.room.root
    try:
        version = other.wait_ready(30)
        _run_sleep(Client(other.host))
        own = len(other.room.processes())
    finally:
        other.stop()
    assert version[0].isdigit()
    assert own >= 2
    assert _gone(root)
    assert not {name for name in _look() - before if root.name in name}
    other.stop()
    with pytest.raises(PeerFailed, match="was not started"):
        _ = other.host


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.3, 1.0])
def test_nothing_is_left_of_a_peer_that_was_cut_off(other: Peer, seconds: float) -> None:
    other.launch()
    root = other.room.root
    threading.Event().wait(seconds)
    other.stop()
    assert _gone(root)


def test_a_peer_that_does_not_come_up_says_why(other: Peer) -> None:
    other.launch()
    root = other.room.root
    try:
        with pytest.raises(PeerFailed, match=r"did not come up \(in 0 s\)"):
            other.wait_ready(0)
    finally:
        other.stop()
    assert _gone(root)
