"""Shims, zygote and manager killed with -9: what runs goes on, what ended is known, nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from hakobune.containerd.client import Client, TaskExit
from hakobune.errors import FailedPrecondition, NotFound
from hakobune.testing.manager import PrivateManager
from hakobune.testing.manager import run as loop
from hakobune.testing.recipes import create, process, remove
from hakobune.testing.shims import gone

pytestmark = [pytest.mark.root, pytest.mark.slow]


def parent_of(pid: int) -> int:
    """From /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


def test_a_killed_shim_ends_its_container(run, manager: PrivateManager) -> None:
    async def work(client: Client) -> None:
        pid = await create(client, "lost", ["sleep", "600"])
        await client.tasks.start("lost")
        await client.tasks.exec("lost", "e", process(["sleep", "600"]))
        exec_pid = await client.tasks.start("lost", "e")
        events = await client.events.open("topic==/tasks/exit")
        waiting = asyncio.create_task(client.tasks.wait("lost"))
        await asyncio.sleep(0.1)
        os.kill(parent_of(pid), signal.SIGKILL)
        end = await asyncio.wait_for(waiting, 5)
        assert end.status == 137
        told = [(await asyncio.wait_for(events.__anext__(), 5)).value for _ in range(2)]
        events.close()
        assert [event.id for event in told if isinstance(event, TaskExit)] == ["e", "lost"]
        assert all(event.exit_status == 137 for event in told if isinstance(event, TaskExit))
        for _ in range(100):  # dead, and a moment later reaped
            if not Path(f"/proc/{pid}").exists():
                break
            await asyncio.sleep(0.02)
        assert not Path(f"/proc/{pid}").exists()
        assert not Path(f"/proc/{exec_pid}").exists()
        state = await client.tasks.get("lost")
        assert (state.status, state.exit_status, state.pid) == ("stopped", 137, pid)
        assert (await client.tasks.get("lost", "e")).status == "stopped"
        assert await client.tasks.pids("lost") == []
        with pytest.raises(NotFound):
            await client.tasks.kill("lost", signal.SIGTERM)
        with pytest.raises(FailedPrecondition):
            await client.tasks.start("lost", "e")
        await client.tasks.delete("lost", "e")
        await remove(client, "lost")

    run(work)
    assert list(Path("/sys/fs/cgroup").glob(f"*/hakotest-{os.getpid()}/lost")) == []
    assert os.listdir(f"{manager.state}/s") == []


def test_a_killed_manager_finds_everything_again(manager: PrivateManager) -> None:
    async def before() -> int:
        client = await manager.client()
        for name, script in (
            ("lives", "exec sleep 600"),
            ("ends", "sleep 0.5; exit 5"),
            ("dies", "exec sleep 600"),
        ):
            pid = await create(client, name, ["sh", "-c", script])
            await client.tasks.start(name)
        shim = parent_of(pid)
        await client.close()
        return shim

    async def after() -> None:
        client = await manager.client()
        assert {task.id: task.status for task in await client.tasks.list()} == {
            "lives": "running", "ends": "stopped", "dies": "stopped",
        }  # fmt: skip
        assert (await client.tasks.get("ends")).exit_status == 5
        assert (await client.tasks.wait("dies")).status == 137
        await client.tasks.kill("lives", signal.SIGTERM, everyone=True)
        await client.tasks.kill("lives", signal.SIGKILL)
        assert (await client.tasks.wait("lives")).status == 137
        for name in ("lives", "ends", "dies"):
            await remove(client, name)
        await create(client, "fresh", ["true"])
        await client.tasks.start("fresh")
        assert (await client.tasks.wait("fresh")).status == 0
        await remove(client, "fresh")
        await client.close()

    shim = loop(before())
    manager.kill()
    os.kill(shim, signal.SIGKILL)
    time.sleep(1)
    manager.start()
    loop(after())


def test_a_stopped_manager_leaves_containers_alone(manager: PrivateManager) -> None:
    async def before() -> None:
        client = await manager.client()
        await create(client, "stays", ["sleep", "600"])
        await client.tasks.start("stays")
        await client.close()

    async def after() -> None:
        client = await manager.client()
        assert (await client.tasks.get("stays")).status == "running"
        await client.tasks.kill("stays", signal.SIGKILL)
        await client.tasks.wait("stays")
        await remove(client, "stays")
        await client.close()

    loop(before())
    assert manager.signal(signal.SIGTERM) == 0
    manager.start()
    loop(after())


def test_a_killed_zygote_is_replaced(run, manager: PrivateManager) -> None:
    async def work(client: Client) -> None:
        pid = await create(client, "old", ["sleep", "600"])
        await client.tasks.start("old")
        zygote = parent_of(parent_of(pid))
        os.kill(zygote, signal.SIGKILL)
        await create(client, "new", ["true"])
        await client.tasks.start("new")
        assert (await client.tasks.wait("new")).status == 0
        await remove(client, "new")
        os.kill(parent_of(pid), signal.SIGKILL)  # no zygote speaks for it: the manager does
        assert (await client.tasks.wait("old")).status == 137
        assert gone(pid)
        await remove(client, "old")

    run(work)


def test_two_managers_of_one_root(manager: PrivateManager) -> None:
    second = PrivateManager()
    second.root = manager.root
    second.start()
    assert second._process is not None
    assert second._process.wait(20) == 1
    assert "another manager uses" in (second.base / "log").read_text()
    second.end()
