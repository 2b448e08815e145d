"""Boot mends what does not fit together, both ways, says so, and touches nothing that is not its own."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from hakobune.cgroups.cgroup import Cgroup
from hakobune.containerd.client import Client
from hakobune.errors import NotFound
from hakobune.testing.manager import PrivateManager
from hakobune.testing.manager import run as loop
from hakobune.testing.recipes import ROOTED, create, starter_layer
from hakobune.testing.shims import gone

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def own() -> Iterator[PrivateManager]:
    """A manager for one test."""
    made = PrivateManager()
    made.start()

    async def fill(client: Client) -> None:
        await starter_layer(client)

    ask(made, fill)
    yield made
    made.end()


def ask(manager: PrivateManager, work: Callable[[Client], Coroutine[Any, Any, Any]]) -> Any:
    async def body() -> Any:
        client = await manager.client()
        try:
            return await work(client)
        finally:
            await client.close()

    return loop(body())


async def a_container(client: Client) -> int:
    pid = await create(client, "one", ["sleep", "600"])
    await client.tasks.start("one")
    return pid


def log(manager: PrivateManager) -> str:
    return (manager.base / "log").read_text()


def again(manager: PrivateManager) -> None:
    """The next manager, when it has settled everything."""
    manager.start()
    ask(manager, lambda client: client.version.get())


def bundle(manager: PrivateManager) -> Path:
    return Path(manager.state) / "io.containerd.runtime.v2.task/test/one"


def shim_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def database(manager: PrivateManager, sql: str) -> None:
    with sqlite3.connect(f"{manager.root}/meta.db") as connection:
        connection.execute(sql)
    connection.close()


def test_no_pid_from_before_a_reboot_is_believed(own: PrivateManager) -> None:
    """The state directory is from before; its pid is an innocent process's by now."""
    pid = ask(own, a_container)
    zygote = shim_of(shim_of(pid))
    shim = shim_of(pid)
    own.kill()
    for victim in (zygote, shim, pid):
        os.kill(victim, signal.SIGKILL)
        assert gone(victim)
    group = Cgroup.find((bundle(own) / "cgroup").read_text())
    group.kill()
    assert group.wait_empty(5)
    group.delete(remove_empty_parents=True)
    (bundle(own) / "exit_status").unlink(missing_ok=True)
    with subprocess.Popen(["sleep", "600"]) as innocent:
        (bundle(own) / "init.pid").write_text(str(innocent.pid))
        again(own)

        async def look(client: Client) -> None:
            found = await client.tasks.get("one")
            assert (found.status, found.exit_status) == ("stopped", 137)
            await client.tasks.delete("one")
            await client.containers.delete("one")

        ask(own, look)
        assert innocent.poll() is None
        innocent.kill()
    assert "the shim of test/one is lost, exit status 137" in log(own)


def test_a_task_of_no_container(own: PrivateManager) -> None:
    pid = ask(own, a_container)
    shim = shim_of(pid)
    own.kill()
    database(own, "DELETE FROM containers WHERE id = 'one'")
    again(own)
    assert "task test/one of no container: ended and removed" in log(own)
    assert gone(pid)
    assert gone(shim)
    assert not bundle(own).exists()


def test_a_container_without_its_bundle(own: PrivateManager) -> None:
    """The record stays, as a container without a task; another task can be made."""

    async def record(client: Client) -> None:
        await create(client, "one", ["sleep", "600"])
        await client.tasks.kill("one", 9)
        await client.tasks.wait("one")
        await client.tasks.delete("one")

    ask(own, record)
    own.kill()
    again(own)

    async def look(client: Client) -> None:
        assert (await client.containers.get("one")).id == "one"
        with pytest.raises(NotFound):
            await client.tasks.get("one")
        await client.containers.delete("one")

    ask(own, look)


def test_strangers_on_the_disk(own: PrivateManager) -> None:
    async def blob(client: Client) -> None:
        await client.content.write("one", b"kept", labels=ROOTED)
        await client.content.write("two", b"lost", labels=ROOTED)

    ask(own, blob)
    own.kill()
    blobs = Path(own.root) / "io.containerd.content.v1.content/blobs/sha256"
    snapshots = Path(own.root) / "io.containerd.snapshotter.v1.overlayfs/snapshots"
    (blobs / ("0" * 64)).write_text("nobody's")
    (snapshots / "4711/fs").mkdir(parents=True)
    (Path(own.state) / "s/nobody").touch()
    (blobs / hashlib.sha256(b"lost").hexdigest()).unlink()
    again(own)

    async def look(client: Client) -> None:
        assert await client.content.read_all(f"sha256:{hashlib.sha256(b'kept').hexdigest()}") == b"kept"
        with pytest.raises(NotFound):
            await client.content.read_all(f"sha256:{hashlib.sha256(b'lost').hexdigest()}")

    ask(own, look)
    text = log(own)
    assert f"file sha256/{'0' * 64} on no record: removed" in text
    assert "directory 4711 of no overlayfs snapshot: removed" in text
    assert "socket nobody of no task: removed" in text
    assert f"content sha256:{hashlib.sha256(b'lost').hexdigest()} has lost its file: forgotten" in text
    assert not (blobs / ("0" * 64)).exists()
    assert not (Path(own.state) / "s/nobody").exists()


def test_a_snapshot_that_has_lost_its_files(own: PrivateManager) -> None:
    async def prepare(client: Client) -> str:
        mounts = await client.snapshots.prepare("lost", "", ROOTED)
        await client.snapshots.prepare("kept", "starter", ROOTED)
        return mounts[0].source

    source = Path(ask(own, prepare))
    own.kill()
    source.rmdir()
    source.parent.joinpath("work").rmdir()
    source.parent.rmdir()
    again(own)

    async def look(client: Client) -> None:
        with pytest.raises(NotFound):
            await client.snapshots.stat("lost")
        assert (await client.snapshots.stat("kept")).parent == "starter"

    ask(own, look)
    assert "snapshot lost of test has lost its files: forgotten" in log(own)
