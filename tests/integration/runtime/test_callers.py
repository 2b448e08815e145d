"""hako-runtime in runc's place under Docker's and Podman's own engines: whatever they ask of it, and no rest.

containerd's own shim with it is in tests/integration/engine/test_matrix.py (`runc-shim-own`), and with `ctr run` in
tests/integration/containerd/test_foreign_shims.py.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hakobune.cli.http import Client
from hakobune.layers import starter
from hakobune.testing import peers
from hakobune.testing.peers import Peer
from hakobune.testing.processes import command_lines

pytestmark = [pytest.mark.root, pytest.mark.slow]
OURS = str(Path(sys.executable).with_name("hako-runtime"))
MAKERS = {"dockerd": peers.dockerd, "podman": peers.podman}
IMAGE = "localhost/peer:latest"
LIMITS = [{"Name": name, "Soft": 4096, "Hard": 4096} for name in ("nofile", "nproc")]


@pytest.fixture(scope="module", params=list(MAKERS))
def engine(request: pytest.FixtureRequest) -> Iterator[Peer]:
    made = MAKERS[request.param](OURS)
    if made.missing:
        pytest.skip(made.missing)
    made.launch()
    root = str(made.room.root)
    try:
        made.wait_ready()
        layer = io.BytesIO()
        starter.write_tar(layer)
        target = "/images/create?fromSrc=-&repo=localhost/peer&tag=latest"
        list(Client(made.host).open("POST", target, stream=[layer.getvalue()]).lines())
        yield made
    finally:
        made.stop()
    assert not [line for _pid, line in command_lines() if root in line]


class Container:
    """One, by the engine's API."""

    def __init__(self, engine: Peer, *args: str, **host: Any) -> None:
        self.client = Client(engine.host)
        body = {
            "Image": IMAGE,
            "Cmd": list(args),
            "HostConfig": {"Ulimits": LIMITS, "NetworkMode": "none", **host},
        }
        self.id: str = self.client.post("/containers/create", body)["Id"]

    def post(self, what: str, body: Any = None) -> Any:
        return self.client.post(f"/containers/{self.id}/{what}", body)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/containers/{self.id}/json")["State"]
        return found

    def ended(self) -> int:
        end = time.monotonic() + 20
        while (state := self.state())["Status"] not in ("exited", "stopped"):
            assert time.monotonic() < end, state
            time.sleep(0.05)
        code: int = state["ExitCode"]
        return code

    def remove(self) -> None:
        self.client.call("DELETE", f"/containers/{self.id}?force=1&v=1", fine=(404,))

    def execute(self, *args: str) -> int:
        """The exit code of an exec."""
        made = self.post("exec", {"Cmd": list(args), "AttachStdout": True})["Id"]
        # Attached: Podman's service tells no exit code of one that it has let go.
        body = {"Detach": False, "Tty": False}
        answer = self.client.open("POST", f"/exec/{made}/start", body=body, upgrade=True)
        while answer.sock.recv(4096):
            pass
        answer.sock.close()
        end = time.monotonic() + 20
        while (found := self.client.get(f"/exec/{made}/json"))["Running"]:
            assert time.monotonic() < end
            time.sleep(0.05)
        code: int = found["ExitCode"]
        return code


@pytest.fixture
def make(engine: Peer) -> Iterator[Callable[..., Container]]:
    before = _look()
    made: list[Container] = []

    def one(*args: str, **host: Any) -> Container:
        made.append(Container(engine, *args, **host))
        return made[-1]

    yield one
    for container in made:
        container.remove()
    ids = [container.id for container in made]
    assert not [path for path in _look() - before if any(each in path for each in ids)]


def _look() -> set[str]:
    """Control groups and mounts of the host."""
    groups = {str(path) for path in Path("/sys/fs/cgroup").glob("*/hb-*/*")}
    return groups | set(Path("/proc/self/mountinfo").read_text().splitlines())


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7)])
def test_it_runs_to_its_end(make: Callable[..., Container], script: str, code: int) -> None:
    container = make("sh", "-c", script)
    container.post("start")
    assert container.ended() == code


def test_a_command_that_is_not_there(make: Callable[..., Container]) -> None:
    container = make("nope")
    with pytest.raises(Exception, match=r"executable file not found|no such file"):
        container.post("start")


def test_its_life(make: Callable[..., Container], engine: Peer) -> None:
    """Start, exec, pause, new limits, kill, start again, and away by force."""
    container = make("sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.05; done", Memory=64 << 20)
    container.post("start")
    assert (container.execute("true"), container.execute("sh", "-c", "exit 4")) == (0, 4)
    container.post("pause")
    assert container.state()["Status"] == "paused"
    container.post("unpause")
    if engine.kind == "dockerd":  # Podman's API has no update
        container.post("update", {"Memory": 128 << 20, "MemorySwap": 256 << 20})
        limit = next(Path("/sys/fs/cgroup/memory").glob(f"hb-*/{container.id}/memory.limit_in_bytes"), None)
        assert limit is None or int(limit.read_text()) == 128 << 20
    container.post("kill?signal=TERM")
    assert container.ended() == 5
    container.post("start")
    pid = container.state()["Pid"]
    container.remove()
    assert not os.path.exists(f"/proc/{pid}")


def test_the_whole_container_ends(make: Callable[..., Container]) -> None:
    """Also what it started in the host's pid namespace."""
    container = make("sh", "-c", "sleep 611 & exec sleep 612", PidMode="host")
    container.post("start")
    assert len(_sleepers()) == 2
    container.post("kill?signal=KILL")
    container.ended()
    container.remove()
    assert _sleepers() == []


def _sleepers() -> list[int]:
    end = time.monotonic() + 5
    while True:
        found = [
            pid
            for pid, line in command_lines()
            if line.split()[-2:-1] == ["sleep"] and line.split()[-1] in ("611", "612")
        ]
        if len(found) in (0, 2) or time.monotonic() > end:
            return found
        time.sleep(0.02)
