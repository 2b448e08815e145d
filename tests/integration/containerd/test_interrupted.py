"""A Create that is cut at any moment, by its caller or by the death of the manager, leaves nothing half."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from hakobune.containerd.client import Client, Container
from hakobune.errors import HakoError
from hakobune.testing.manager import PrivateManager
from hakobune.testing.manager import run as loop
from hakobune.testing.recipes import ROOTED, document

pytestmark = [pytest.mark.root, pytest.mark.slow]
MOMENTS = (0.0005, 0.002, 0.004, 0.008, 0.012, 0.016, 0.025)


async def begin(client: Client, moment: float) -> None:
    """Start a Create and leave it after `moment` seconds."""
    mounts = await client.snapshots.prepare("cut", "starter", ROOTED)
    spec = document("cut", ["sleep", "600"])
    await client.containers.create(
        Container("cut", runtime="hako", spec=spec, snapshotter="overlayfs", snapshot_key="cut")
    )
    creating = asyncio.ensure_future(client.tasks.create("cut", mounts))
    await asyncio.sleep(moment)
    creating.cancel()
    with contextlib.suppress(asyncio.CancelledError, HakoError):
        await creating


async def clean(client: Client) -> None:
    """What an engine does with a container that it does not know."""
    for task in await client.tasks.list():
        assert task.status == "created"
        await client.tasks.kill("cut", signal.SIGKILL)
        assert (await client.tasks.wait("cut")).status == 137
        await client.tasks.delete("cut")
    await client.containers.delete("cut")
    await client.snapshots.remove("cut")


def left(manager: PrivateManager) -> list[str]:
    shims = [
        line
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if (line := _cmdline(path)).startswith("hako-shim") and line.endswith("-id cut")
    ]
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/hakotest-{os.getpid()}/cut")]
    return shims + cgroups + os.listdir(f"{manager.state}/s")


def _cmdline(path: Path) -> str:
    try:
        return path.read_bytes().decode().rstrip("\0 ").replace("\0", " ")
    except OSError:
        return ""


async def nothing_left(manager: PrivateManager) -> None:
    for _ in range(100):
        if not left(manager):
            return
        await asyncio.sleep(0.05)
    pytest.fail(str(left(manager)))


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_caller_goes_away(manager: PrivateManager, moment: float) -> None:
    async def work() -> None:
        client = await manager.client()
        await begin(client, moment)
        await asyncio.sleep(0.3)
        await clean(client)
        await client.close()
        await nothing_left(manager)

    loop(work())


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_manager_dies(manager: PrivateManager, moment: float) -> None:
    async def before() -> None:
        client = await manager.client()
        creating = asyncio.ensure_future(begin(client, 10))
        while not (await client.containers.list()):  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.sleep(moment)
        manager.kill()
        creating.cancel()
        with contextlib.suppress(asyncio.CancelledError, HakoError):
            await creating
        await client.close()

    async def after() -> None:
        client = await manager.client()
        await clean(client)
        await client.close()
        await nothing_left(manager)

    loop(before())
    manager.start()
    loop(after())
