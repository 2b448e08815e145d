"""The suite of snapshotters, on ours and on the real containerd's: what ours does is what theirs does."""

from __future__ import annotations

import stat

import pytest

from hakobune.containerd.client import Client
from hakobune.errors import InvalidArgument
from hakobune.testing import snapshotters
from hakobune.testing.manager import PrivateManager
from hakobune.testing.manager import run as loop

pytestmark = [pytest.mark.root, pytest.mark.slow]
CHECKS = snapshotters.checks()


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
def test_a_snapshotter(address: str, snapshotter: str, check: str) -> None:
    async def body() -> None:
        async with snapshotters.room(address, snapshotter, f"{snapshotter}-{check}") as room:
            await CHECKS[check](room)

    loop(body())


def test_one_that_is_not_there(address: str) -> None:
    async def body() -> None:
        client = Client(address, "suite")
        await client.ready(30)
        try:
            with pytest.raises(InvalidArgument, match="snapshotter not loaded: nobody"):
                await client.snapshots.prepare("key", "", snapshotter="nobody")
        finally:
            await client.close()

    loop(body())


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
def test_the_mode_of_the_root(snapshotter: str) -> None:
    """containerd's overlayfs has 0755 instead; Docker keeps it, as we do."""
    manager = PrivateManager()
    manager.start()

    async def body() -> int:
        async with snapshotters.room(manager.address, snapshotter, "mode") as room:
            await room.layer("base", "", lambda place: place.chmod(0o1711))
            with snapshotters.mounted(await room.prepare("key", "base")) as place:
                return stat.S_IMODE(place.stat().st_mode)

    try:
        assert oct(loop(body())) == "0o1711"
    finally:
        manager.end()
