"""The suite of snapshotters, on ours and on the real containerd's: what ours does is what theirs does."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import pytest

from hakobune.containerd.client import Client
from hakobune.errors import InvalidArgument
from hakobune.testing import snapshotters
from hakobune.testing.containerd import RealContainerd
from hakobune.testing.manager import PrivateManager
from hakobune.testing.manager import run as loop
from hakobune.testing.peers import built

pytestmark = [pytest.mark.root, pytest.mark.slow]
CHECKS = snapshotters.checks()


@pytest.fixture(scope="module", params=["ours", "Debian's containerd", "current containerd"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a manager."""
    if request.param == "ours":
        made = PrivateManager()
        made.start()
        yield made.address
        made.end()
        return
    program = "/usr/bin/containerd" if "Debian" in request.param else built("containerd")
    if not program or not os.path.exists(program):
        pytest.skip(f"peer not installed: {request.param}")
    with RealContainerd(program) as real:
        yield real.address


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
