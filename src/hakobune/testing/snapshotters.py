"""What every snapshotter has to do, as a suite: run on ours and on the real containerd's, over the same gRPC services.

`checks()` gives (name, coroutine function of a `Room`); each uses keys of its own. Needs root: mounts are made for a moment.
Source: containerd, core/snapshots/snapshotter.go (the interface's comments). Imports: containerd.client, linux.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hakobune.containerd.client import Client
from hakobune.errors import AlreadyExists, HakoError, NotFound
from hakobune.linux import syscalls
from hakobune.spec.mount import Mount

MS_RDONLY, MS_BIND, MS_REC, MS_REMOUNT = 1, 4096, 16384, 32
KEEP = {"containerd.io/gc.root": "2026-01-01T00:00:00Z"}


@dataclass
class Room:
    """One snapshotter of one manager, and the names that a check has made there."""

    client: Client
    snapshotter: str
    prefix: str
    made: list[str] = field(default_factory=list)

    def name(self, word: str) -> str:
        """A name that nobody else has."""
        return f"{self.prefix}-{word}"

    async def prepare(self, word: str, parent: str = "", **labels: str) -> list[Mount]:
        """An active snapshot on a committed one, both by their short names."""
        self.made.append(word)
        above = self.name(parent) if parent else ""
        return await self.client.snapshots.prepare(
            self.name(word), above, {**KEEP, **labels}, snapshotter=self.snapshotter
        )

    async def view(self, word: str, parent: str) -> list[Mount]:
        """A view of a committed one."""
        self.made.append(word)
        return await self.client.snapshots.view(
            self.name(word), self.name(parent), KEEP, snapshotter=self.snapshotter
        )

    async def commit(self, name: str, key: str, **labels: str) -> None:
        """Turn `key` into `name`."""
        await self.client.snapshots.commit(
            self.name(name), self.name(key), {**KEEP, **labels}, snapshotter=self.snapshotter
        )
        self.made[self.made.index(key)] = name

    async def layer(self, name: str, parent: str, change: Callable[[Path], None]) -> None:
        """A committed snapshot with a change on its parent's files."""
        mounts = await self.prepare(f"{name}-key", parent)
        with mounted(mounts) as place:
            change(place)
        await self.commit(name, f"{name}-key")

    async def remove(self, word: str) -> None:
        """By its short name."""
        await self.client.snapshots.remove(self.name(word), snapshotter=self.snapshotter)
        self.made.remove(word)

    async def empty(self) -> None:
        """Take away what is left, children first."""
        for word in reversed(list(self.made)):
            with contextlib.suppress(HakoError):
                await self.remove(word)


@contextlib.contextmanager
def mounted(mounts: Sequence[Mount]) -> Iterator[Path]:
    """The file system that the mounts make, for a moment."""
    (mount,) = mounts
    with tempfile.TemporaryDirectory(prefix="hs-") as place:
        readonly = "ro" in mount.options
        if mount.type == "bind":
            syscalls.mount(mount.source, place, None, MS_BIND | MS_REC)
            if readonly:
                syscalls.mount(None, place, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
        else:
            data = ",".join(option for option in mount.options if option not in ("ro", "rw"))
            syscalls.mount(mount.source, place, mount.type, MS_RDONLY if readonly else 0, data)
        try:
            yield Path(place)
        finally:
            syscalls.umount(place)


def tree(place: Path) -> dict[str, tuple[object, ...]]:
    """Every path with what makes it what it is."""
    found: dict[str, tuple[object, ...]] = {}
    for top, directories, files in os.walk(place):
        for name in (*directories, *files):
            path = Path(top) / name
            info = path.lstat()
            what: object = ""
            if stat.S_ISREG(info.st_mode):
                what = path.read_bytes()
            elif stat.S_ISLNK(info.st_mode):
                what = os.readlink(path)
            elif stat.S_ISCHR(info.st_mode):
                what = info.st_rdev
            found[str(path.relative_to(place))] = (oct(info.st_mode), info.st_uid, info.st_gid, what)
    return found


def base(place: Path) -> None:
    """A bit of everything."""
    (place / "etc").mkdir()
    (place / "etc/file").write_text("one")
    (place / "etc/file").chmod(0o4755)
    (place / "gone").mkdir()
    (place / "gone/below").write_text("x")
    (place / "opaque").mkdir()
    (place / "opaque/old").write_text("x")
    os.symlink("etc/file", place / "link")
    os.link(place / "etc/file", place / "hard")
    os.mknod(place / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(place / "fifo")
    (place / "owned").write_text("x")
    os.chown(place / "owned", 1000, 1001)
    os.setxattr(place / "owned", "trusted.hako", b"value")


async def _layers(room: Room) -> None:
    """Changes on top of each other: written over, removed, a directory removed and made again, renamed, a mode, an owner."""

    def second(place: Path) -> None:
        (place / "etc/file").write_text("two")
        (place / "gone/below").unlink()
        (place / "gone").rmdir()
        (place / "opaque/old").unlink()
        (place / "opaque").rmdir()
        (place / "opaque").mkdir()
        (place / "opaque/new").write_text("y")
        (place / "owned").rename(place / "moved")
        (place / "fifo").chmod(0o600)

    await room.layer("base", "", base)
    await room.layer("second", "base", second)
    with mounted(await room.view("look-base", "base")) as place:
        before = tree(place)
        assert os.getxattr(place / "owned", "trusted.hako") == b"value"
        assert (place / "hard").stat().st_ino == (place / "etc/file").stat().st_ino
    with mounted(await room.view("look-second", "second")) as place:
        after = tree(place)
        assert (place / "etc/file").read_text() == "two"
        assert (place / "moved").stat().st_uid == 1000
        assert stat.S_IMODE((place / "fifo").lstat().st_mode) == 0o600
    assert {"gone", "opaque/old", "owned"} <= before.keys()
    assert not {"gone", "gone/below", "opaque/old", "owned"} & after.keys()
    assert {"opaque/new", "moved", "null", "link", "hard"} <= after.keys()
    assert before["null"] == after["null"]


async def _parents_are_not_touched(room: Room) -> None:
    await room.layer("base", "", base)
    with mounted(await room.prepare("one", "base")) as one, mounted(await room.prepare("two", "base")) as two:
        (one / "etc/file").write_text("changed")
        (one / "own").write_text("x")
        assert (two / "etc/file").read_text() == "one"
        assert not (two / "own").exists()
    with mounted(await room.view("look", "base")) as place:
        assert (place / "etc/file").read_text() == "one"


async def _views_are_read_only(room: Room) -> None:
    await room.layer("base", "", base)
    with mounted(await room.view("look", "base")) as place:
        try:
            (place / "new").write_text("x")
        except OSError:
            return
    raise AssertionError("a view could be written to")


async def _mounts_again(room: Room) -> None:
    mounts = await room.prepare("key")
    assert await room.client.snapshots.mounts(room.name("key"), snapshotter=room.snapshotter) == mounts
    await room.commit("done", "key")
    await _refused(room.client.snapshots.mounts(room.name("done"), snapshotter=room.snapshotter), HakoError)
    await _refused(room.client.snapshots.mounts(room.name("nobody"), snapshotter=room.snapshotter), NotFound)


async def _kinds_and_parents(room: Room) -> None:
    await room.layer("base", "", base)
    await room.prepare("key", "base")
    await room.view("look", "base")
    for word, kind, parent in (
        ("base", "committed", ""),
        ("key", "active", "base"),
        ("look", "view", "base"),
    ):
        found = await room.client.snapshots.stat(room.name(word), snapshotter=room.snapshotter)
        assert (found.kind, found.parent) == (kind, room.name(parent) if parent else ""), found
    listed = {one.name for one in await room.client.snapshots.list(snapshotter=room.snapshotter)}
    assert {room.name(word) for word in ("base", "key", "look")} <= listed
    only = await room.client.snapshots.list(f"name=={room.name('key')}", snapshotter=room.snapshotter)
    assert [one.name for one in only] == [room.name("key")]


async def _names_taken(room: Room) -> None:
    await room.layer("base", "", base)
    await room.prepare("key", "base")
    await _refused(room.prepare("key", "base"), AlreadyExists)
    room.made.remove("key")
    await room.prepare("other", "base")
    await _refused(room.commit("base", "other"), AlreadyExists)
    await _refused(room.prepare("lost", "nobody"), NotFound)
    room.made.remove("lost")
    await _refused(room.prepare("odd", "key"), HakoError)  # its parent is not committed
    room.made.remove("odd")


async def _what_has_children_stays(room: Room) -> None:
    await room.layer("base", "", base)
    await room.prepare("key", "base")
    await _refused(room.remove("base"), HakoError)
    await room.remove("key")
    await room.remove("base")
    await _refused(room.client.snapshots.stat(room.name("base"), snapshotter=room.snapshotter), NotFound)


async def _labels(room: Room) -> None:
    await room.prepare("key", "", **{"containerd.io/snapshot.x": "1", "plain": "2"})
    found = await room.client.snapshots.stat(room.name("key"), snapshotter=room.snapshotter)
    assert found.labels["containerd.io/snapshot.x"] == "1"
    changed = await room.client.snapshots.update(
        room.name("key"), {**KEEP, "new": "3"}, snapshotter=room.snapshotter
    )
    assert dict(changed.labels) == {**KEEP, "new": "3"}


async def _usage(room: Room) -> None:
    def big(place: Path) -> None:
        (place / "big").write_bytes(bytes(range(256)) * 4096)

    await room.layer("base", "", base)
    small = await room.client.snapshots.usage(room.name("base"), snapshotter=room.snapshotter)
    await room.layer("big", "base", big)
    found = await room.client.snapshots.usage(room.name("big"), snapshotter=room.snapshotter)
    assert found.size >= 1 << 20
    assert found.size > small.size
    assert found.inodes > 1
    with mounted(await room.prepare("key", "big")) as place:
        (place / "more").write_bytes(bytes(64 << 10))
        active = await room.client.snapshots.usage(room.name("key"), snapshotter=room.snapshotter)
    assert active.size >= 64 << 10


async def _the_root_has_its_parents_owner(room: Room) -> None:
    await room.layer("base", "", lambda place: os.chown(place, 5, 6))
    with mounted(await room.prepare("key", "base")) as place:
        assert (place.stat().st_uid, place.stat().st_gid) == (5, 6)


async def _refused(work: Awaitable[object], kind: type[HakoError]) -> None:
    try:
        await work
    except kind:
        return
    raise AssertionError(f"it was not refused with {kind.__name__}")


def checks() -> dict[str, Callable[[Room], Awaitable[None]]]:
    """By name."""
    every = (
        _layers, _parents_are_not_touched, _views_are_read_only, _mounts_again, _kinds_and_parents, _names_taken,
        _what_has_children_stays, _labels, _usage, _the_root_has_its_parents_owner,
    )  # fmt: skip
    return {one.__name__.lstrip("_"): one for one in every}


@contextlib.asynccontextmanager
async def room(address: str, snapshotter: str, prefix: str) -> AsyncIterator[Room]:
    """A room on the manager at `address`, emptied afterwards."""
    client = Client(address, "suite")
    await client.ready(30)
    made = Room(client, snapshotter, prefix)
    try:
        yield made
    finally:
        await made.empty()
        await client.close()
