"""The suite of snapshotters, on ours and on the real containerd's: what ours does is what theirs does."""

from __future__ import annotations

import stat

import pytest

from hakobune.containerd.client import Client
from hakobune.errors import FailedPrecondition, HakoError, InvalidArgument
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


@pytest.mark.parametrize("address", ["ours", "current containerd"], indirect=True)
def test_laid_onto_another_at_the_end(address: str) -> None:
    """Only what has nothing below, and only onto what is committed."""

    async def body() -> None:
        async with snapshotters.room(address, "overlayfs", "onto") as room:
            snapshots = room.client.snapshots
            await room.layer("low", "", lambda place: (place / "low").touch())
            with snapshotters.mounted(await room.prepare("key")) as place:
                (place / "high").touch()
            await room.prepare("other")
            for wrong in ("nowhere", "other"):
                with pytest.raises(HakoError):
                    await snapshots.commit(room.name("high"), room.name("key"), onto=room.name(wrong))
            await snapshots.commit(
                room.name("high"), room.name("key"), snapshotters.KEEP, onto=room.name("low")
            )
            room.made[room.made.index("key")] = "high"
            assert (await snapshots.stat(room.name("high"))).parent == room.name("low")
            with snapshotters.mounted(await room.prepare("top", "high")) as place:
                assert sorted(one.name for one in place.iterdir()) == ["high", "low"]
            with pytest.raises(FailedPrecondition, match="child"):
                await room.remove("low")

    loop(body())


def test_what_has_something_below_keeps_it(manager: PrivateManager) -> None:
    """containerd says nothing then, and does nothing."""

    async def body() -> None:
        async with snapshotters.room(manager.address, "overlayfs", "keeps") as room:
            for name in ("one", "two"):
                await room.layer(name, "", lambda place: (place / "file").touch())
            await room.prepare("key", "one")
            with pytest.raises(FailedPrecondition, match="on keeps-one cannot be laid onto keeps-two"):
                await room.client.snapshots.commit(room.name("x"), room.name("key"), onto=room.name("two"))

    loop(body())


def test_a_copy_is_laid_onto_nothing(manager: PrivateManager) -> None:
    async def body() -> None:
        async with snapshotters.room(manager.address, "native", "copy") as room:
            await room.layer("low", "", lambda place: (place / "low").touch())
            await room.prepare("key")
            with pytest.raises(FailedPrecondition, match="on nothing cannot be laid onto"):
                await room.client.snapshots.commit(
                    room.name("high"), room.name("key"), onto=room.name("low"), snapshotter="native"
                )

    loop(body())
