"""containerd's own command line on our manager: the wire format as somebody else understands it."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from hakobune.containerd.client import Client
from hakobune.testing.manager import PrivateManager
from hakobune.testing.recipes import ROOTED, create, remove

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def ctr(peer, manager: PrivateManager):
    program = peer("ctr")

    def call(*arguments: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            [program, "-a", manager.address, "-n", "test", *arguments],
            input=stdin, capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    return call


def test_what_is_listed(ctr, run) -> None:
    async def make(client: Client) -> int:
        pid = await create(client, "listed", ["sleep", "600"])
        await client.tasks.start("listed")
        return pid

    async def unmake(client: Client) -> None:
        await client.tasks.kill("listed", signal.SIGKILL)
        await client.tasks.wait("listed")
        await remove(client, "listed")

    pid = run(make)
    assert "Server:" in ctr("version")
    assert "test" in ctr("namespaces", "ls").split()
    assert "overlayfs" in ctr("plugins", "ls")
    assert ["listed", "starter", "Active"] in [line.split() for line in ctr("snapshots", "ls").splitlines()]
    assert "listed" in ctr("containers", "ls")
    assert '"sleep"' in ctr("containers", "info", "listed")
    assert ["listed", str(pid), "RUNNING"] in [line.split() for line in ctr("tasks", "ls").splitlines()]
    assert str(pid) in ctr("tasks", "ps", "listed")
    assert ctr("tasks", "exec", "--exec-id", "e", "listed", "echo", "from inside") == "from inside\n"
    ctr("tasks", "pause", "listed")
    assert "PAUSED" in ctr("tasks", "ls")
    ctr("tasks", "resume", "listed")
    run(unmake)


def test_content_and_leases(ctr) -> None:
    ctr("leases", "create", "--id", "held")
    ctr("content", "ingest", "blob", stdin=b"some bytes")
    digest = next(line.split()[0] for line in ctr("content", "ls").splitlines() if "10B" in line)
    assert ctr("content", "get", digest) == "some bytes"
    ctr("content", "label", digest, "a=b")
    assert "a=b" in ctr("content", "ls")
    ctr("content", "rm", digest)
    assert "held" in ctr("leases", "ls")
    ctr("leases", "rm", "held")


def test_run(ctr, run) -> None:
    async def lower(client: Client) -> str:
        mounts = await client.snapshots.view("looked", "starter", ROOTED)
        await client.snapshots.remove("looked")
        return mounts[0].source

    root = run(lower)
    assert Path(root).is_dir()
    arguments = ("run", "--rm", "--runtime", "io.containerd.hako.v1", "--rootfs", root, "ran")
    assert ctr(*arguments, "echo", "hello") == "hello\n"
    assert "ran" not in ctr("containers", "ls")
