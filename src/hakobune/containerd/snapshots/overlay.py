"""The overlayfs snapshotter: directories on the disk, mounts as data. Nothing is mounted on the host.

A snapshot is `snapshots/<id>/fs`; an active one has `work` beside it, which overlayfs needs. Vocabulary:
`prepare` makes an active snapshot on a committed parent, a runtime writes to it through its mounts,
`commit` turns it into a committed one under a new name. `view` makes one that is never written to.

The mounts of a chain base <- a <- b (b active) are: overlay upperdir=b/fs, workdir=b/work,
lowerdir=a/fs:base/fs. Without a parent there is nothing to overlay: a bind of b/fs itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hakobune.containerd.filters import Filter, fields
from hakobune.containerd.metadata.schema import hold, pack_labels, unpack_labels
from hakobune.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from hakobune.failpoint import reach
from hakobune.persist.database import Database, Row
from hakobune.spec.mount import Mount

NAME = "overlayfs"
VIEW, ACTIVE, COMMITTED = 1, 2, 3
KINDS = {VIEW: "view", ACTIVE: "active", COMMITTED: "committed"}
_DOOMED = "rm-"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One row; times in nanoseconds since the epoch."""

    id: int
    name: str
    parent: str
    kind: int
    labels: Mapping[str, str]
    created: int
    updated: int
    size: int
    inodes: int


class Overlay:
    """Owns `root`. Raises NotFound, AlreadyExists, FailedPrecondition, ResourceExhausted."""

    def __init__(self, database: Database, root: str) -> None:
        self._database = database
        self._root = f"{root}/snapshots"
        self._removals: set[asyncio.Task[None]] = set()
        self._extra = ("index=off",) if os.path.exists("/sys/module/overlay/parameters/index") else ()
        os.makedirs(self._root, mode=0o700, exist_ok=True)

    # --- looking up ---

    def stat(self, namespace: str, name: str) -> Snapshot:
        """By key or name."""
        row = self._database.one(
            "SELECT * FROM snapshots WHERE ns = ? AND snapshotter = ? AND name = ?", (namespace, NAME, name)
        )
        if row is None:
            raise NotFound(f"snapshot {name} does not exist: not found")
        return _from(row)

    def all(self, namespace: str, filters: Iterable[str] = ()) -> list[Snapshot]:
        """Those that pass, oldest first."""
        wanted = Filter(filters)
        rows = self._database.query(
            "SELECT * FROM snapshots WHERE ns = ? AND snapshotter = ? ORDER BY id", (namespace, NAME)
        )
        return [
            found
            for found in map(_from, rows)
            if wanted.matches(
                fields({"name": found.name, "parent": found.parent, "kind": KINDS[found.kind]}, found.labels)
            )
        ]

    def mounts(self, namespace: str, key: str) -> tuple[Mount, ...]:
        """How to mount an active snapshot or a view."""
        found = self.stat(namespace, key)
        if found.kind == COMMITTED:
            raise FailedPrecondition(f"snapshot {key} is committed and has no mounts")
        return self._mounts(namespace, found)

    def _mounts(self, namespace: str, snapshot: Snapshot) -> tuple[Mount, ...]:
        lowers = self._lowers(namespace, snapshot.parent)
        own = f"{self._root}/{snapshot.id}"
        if snapshot.kind == ACTIVE and lowers:
            options = (
                *self._extra,
                f"workdir={own}/work",
                f"upperdir={own}/fs",
                f"lowerdir={':'.join(lowers)}",
            )
        elif snapshot.kind == ACTIVE:
            return (Mount("bind", f"{own}/fs", "", ("rw", "rbind")),)
        elif len(lowers) > 1:
            options = (*self._extra, f"lowerdir={':'.join(lowers)}")
        else:
            return (Mount("bind", lowers[0] if lowers else f"{own}/fs", "", ("ro", "rbind")),)
        return (Mount("overlay", "overlay", "", options),)

    def _lowers(self, namespace: str, parent: str) -> list[str]:
        """The directories beneath, top first."""
        found = []
        while parent:
            above = self.stat(namespace, parent)
            found.append(f"{self._root}/{above.id}/fs")
            parent = above.parent
        return found

    # --- changing ---

    def make(
        self, namespace: str, key: str, parent: str, labels: Mapping[str, str], *, kind: int, lease: str = ""
    ) -> tuple[Mount, ...]:
        """A new active snapshot or view (`kind`); its mounts."""
        if not key:
            raise InvalidArgument("snapshot key is empty")
        above = self.stat(namespace, parent) if parent else None
        if above is not None and above.kind != COMMITTED:
            raise InvalidArgument(f"parent {parent} is not a committed snapshot")
        now = time.time_ns()
        with self._database.transaction():
            try:
                self._database.execute(
                    "INSERT INTO snapshots VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)",
                    (namespace, NAME, key, parent, kind, pack_labels(labels), now, now),
                )
            except sqlite3.IntegrityError:
                raise AlreadyExists(f"snapshot {key}: already exists") from None
            made = self.stat(namespace, key)
            hold(self._database, namespace, lease, f"snapshots/{NAME}", key)
            self._make_directories(made, above)
            reach("containerd.snapshot.directories")
        reach("containerd.snapshot.made")
        return self._mounts(namespace, made)

    def _make_directories(self, made: Snapshot, above: Snapshot | None) -> None:
        """The root of the new file system has the owner and mode of what it covers."""
        own = f"{self._root}/{made.id}"
        try:
            shutil.rmtree(own, ignore_errors=True)  # of a transaction that came to nothing
            os.mkdir(own, 0o700)
            os.mkdir(f"{own}/fs", 0o755)
            if made.kind == ACTIVE:
                os.mkdir(f"{own}/work", 0o711)
            if above is not None:
                covered = os.stat(f"{self._root}/{above.id}/fs")
                os.chmod(f"{own}/fs", stat.S_IMODE(covered.st_mode))
                if (covered.st_uid, covered.st_gid) != (0, 0):
                    os.chown(f"{own}/fs", covered.st_uid, covered.st_gid)
        except OSError as err:
            shutil.rmtree(own, ignore_errors=True)
            raise ResourceExhausted(f"snapshot {made.name}: {err.strerror}: {err.filename}") from err

    async def commit(
        self, namespace: str, name: str, key: str, labels: Mapping[str, str], *, lease: str = ""
    ) -> None:
        """Turn an active snapshot into a committed one."""
        active = self.stat(namespace, key)
        if active.kind != ACTIVE:
            raise FailedPrecondition(f"snapshot {key} is not active")
        size, inodes = await asyncio.to_thread(disk_usage, f"{self._root}/{active.id}/fs")
        with self._database.transaction():
            try:
                changed = self._database.execute(
                    "UPDATE snapshots SET name = ?, kind = ?, labels = ?, updated = ?, size = ?, inodes = ?"
                    " WHERE id = ? AND kind = ?",
                    (name, COMMITTED, pack_labels(labels), time.time_ns(), size, inodes, active.id, ACTIVE),
                )
            except sqlite3.IntegrityError:
                raise AlreadyExists(f"snapshot {name}: already exists") from None
            if not changed:
                raise NotFound(f"snapshot {key} does not exist: not found")
            self._database.execute(
                "UPDATE OR REPLACE lease_resources SET resource = ? WHERE ns = ? AND type = ? AND resource = ?",
                (name, namespace, f"snapshots/{NAME}", key),
            )
            hold(self._database, namespace, lease, f"snapshots/{NAME}", name)

    def update(self, namespace: str, name: str, labels: Mapping[str, str], paths: Iterable[str]) -> Snapshot:
        """Change labels: all, or those that `paths` name as `labels.<key>`."""
        kept = dict(self.stat(namespace, name).labels)
        for path in list(paths) or ["labels"]:
            field, _, key = path.partition(".")
            if field != "labels":
                raise InvalidArgument(f'cannot update "{path}" of snapshot {name}')
            if not key:
                kept = dict(labels)
            elif labels.get(key):
                kept[key] = labels[key]
            else:
                kept.pop(key, None)
        self._database.execute(
            "UPDATE snapshots SET labels = ?, updated = ? WHERE ns = ? AND snapshotter = ? AND name = ?",
            (pack_labels(kept), time.time_ns(), namespace, NAME, name),
        )
        return self.stat(namespace, name)

    def remove(self, namespace: str, key: str) -> None:
        """Forget it; its files go in the background."""
        found = self.stat(namespace, key)
        child = self._database.one(
            "SELECT name FROM snapshots WHERE ns = ? AND snapshotter = ? AND parent = ?",
            (namespace, NAME, key),
        )
        if child is not None:
            raise FailedPrecondition(f"cannot remove snapshot with child: {key} has {child['name']}")
        self._database.execute("DELETE FROM snapshots WHERE id = ?", (found.id,))
        reach("containerd.snapshot.forgotten")
        self._bury(str(found.id))

    async def usage(self, namespace: str, key: str) -> tuple[int, int]:
        """Bytes and inodes of the snapshot alone."""
        found = self.stat(namespace, key)
        if found.kind == ACTIVE:
            return await asyncio.to_thread(disk_usage, f"{self._root}/{found.id}/fs")
        return found.size, found.inodes

    # --- files ---

    def _bury(self, directory: str) -> None:
        doomed = f"{self._root}/{_DOOMED}{directory}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{self._root}/{directory}", doomed)
            reach("containerd.snapshot.doomed")
            task = asyncio.ensure_future(asyncio.to_thread(shutil.rmtree, doomed, True))
            self._removals.add(task)
            task.add_done_callback(self._removals.discard)

    def sweep(self) -> None:
        """At boot: remove directories without a row."""
        known = {str(row["id"]) for row in self._database.query("SELECT id FROM snapshots")}
        for name in os.listdir(self._root):
            if name.startswith(_DOOMED):
                shutil.rmtree(f"{self._root}/{name}", ignore_errors=True)
            elif name not in known:
                self._bury(name)

    async def settle(self) -> None:
        """Wait for removals that are under way."""
        while self._removals:
            await asyncio.gather(*self._removals, return_exceptions=True)


def disk_usage(directory: str) -> tuple[int, int]:
    """(bytes on the disk, inodes) of a tree; hard links count once. Blocks."""
    size = 0
    seen: set[tuple[int, int]] = set()
    todo = [directory]
    while todo:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        found = entry.stat(follow_symlinks=False)
                        if (found.st_dev, found.st_ino) not in seen:
                            seen.add((found.st_dev, found.st_ino))
                            size += found.st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            todo.append(entry.path)
    return size, len(seen) + 1


def _from(row: Row) -> Snapshot:
    return Snapshot(
        row["id"], row["name"], row["parent"], row["kind"], unpack_labels(row["labels"]), row["created"],
        row["updated"], row["size"], row["inodes"],
    )  # fmt: skip
