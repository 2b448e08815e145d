"""A snapshotter: snapshots on record, and directories on the disk that a `Backend` makes file systems of.

A snapshot is `snapshots/<id>/`. Vocabulary: `make` gives an active snapshot on a committed parent, which a runtime writes to
through its mounts, or a view that is never written to; `commit` turns an active one into a committed one under a new name.
Nothing is mounted here. Imports: metadata, persist.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hakobune.containerd.filters import Filter, fields
from hakobune.containerd.metadata.schema import hold, pack_labels, unpack_labels
from hakobune.containerd.snapshots.usage import disk_usage
from hakobune.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from hakobune.failpoint import reach
from hakobune.linux.syscalls import exchange
from hakobune.persist.database import Database, Row
from hakobune.spec.mount import Mount

VIEW, ACTIVE, COMMITTED = 1, 2, 3
KINDS = {VIEW: "view", ACTIVE: "active", COMMITTED: "committed"}
UNDER_WAY = "io.hakobune.under-way"  # label of an active snapshot that only this manager's own work knows
_DOOMED = "rm-"
_STAGED = "new-"
_LOG = logging.getLogger("hakobune.snapshots")


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


class Backend(Protocol):
    """What a snapshot is on the disk. `name` is how requests ask for it.

    `rebases`: whether what was filled on nothing can be laid on a parent afterwards.
    """

    name: str
    rebases: bool

    async def fill(self, place: str, kind: int, above: str) -> None:
        """Make what a new snapshot needs in the empty directory `place`, on the committed one `above` ("": none).

        Raises OSError; cancelled, the rest is the caller's to remove.
        """

    def mounts(self, own: str, kind: int, below: Sequence[str]) -> tuple[Mount, ...]:
        """How to mount it; `below` are the directories of its parents, nearest first."""

    def files(self, own: str) -> str:
        """The directory that counts for its usage."""


class Snapshotter:
    """Owns `root`. Raises NotFound, AlreadyExists, FailedPrecondition, ResourceExhausted."""

    def __init__(self, database: Database, root: str, backend: Backend) -> None:
        self.name = backend.name
        self.rebases = backend.rebases
        self._backend = backend
        self._database = database
        self._root = f"{root}/snapshots"
        self._removals: set[asyncio.Task[None]] = set()
        self._staged = 0
        os.makedirs(self._root, mode=0o700, exist_ok=True)

    # --- looking up ---

    def stat(self, namespace: str, name: str) -> Snapshot:
        """By key or name."""
        row = self._database.one(
            "SELECT * FROM snapshots WHERE ns = ? AND snapshotter = ? AND name = ?",
            (namespace, self.name, name),
        )
        if row is None:
            raise NotFound(f"snapshot {name} does not exist: not found")
        return _from(row)

    def all(self, namespace: str, filters: Iterable[str] = ()) -> list[Snapshot]:
        """Those that pass, oldest first."""
        wanted = Filter(filters)
        rows = self._database.query(
            "SELECT * FROM snapshots WHERE ns = ? AND snapshotter = ? ORDER BY id", (namespace, self.name)
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

    def directories(self, namespace: str, name: str) -> list[str]:
        """The files of a committed snapshot ("": none) and of its parents, top first."""
        return [self._backend.files(f"{self._root}/{one.id}") for one in self._parents(namespace, name)]

    def _mounts(self, namespace: str, snapshot: Snapshot) -> tuple[Mount, ...]:
        below = [f"{self._root}/{one.id}" for one in self._parents(namespace, snapshot.parent)]
        return self._backend.mounts(f"{self._root}/{snapshot.id}", snapshot.kind, below)

    def _parents(self, namespace: str, parent: str) -> Iterator[Snapshot]:
        """Nearest first."""
        while parent:
            above = self.stat(namespace, parent)
            yield above
            parent = above.parent

    # --- changing ---

    async def make(
        self, namespace: str, key: str, parent: str, labels: Mapping[str, str], *, kind: int, lease: str = ""
    ) -> tuple[Mount, ...]:
        """A new active snapshot or view (`kind`); its mounts. Cancelled, nothing is left of it."""
        if not key:
            raise InvalidArgument("snapshot key is empty")
        above = self._above(namespace, parent)
        place = await self._stage(key, kind, f"{self._root}/{above.id}" if above else "")
        try:
            with self._database.transaction():
                self._above(namespace, parent)  # it may have gone meanwhile
                made = self._record(namespace, key, parent, labels, kind)
                hold(self._database, namespace, lease, f"snapshots/{self.name}", key)
                own = f"{self._root}/{made.id}"
                shutil.rmtree(own, ignore_errors=True)  # of a transaction that came to nothing
                os.rename(place, own)
                reach("containerd.snapshot.directories")
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        reach("containerd.snapshot.made")
        return self._mounts(namespace, made)

    def _above(self, namespace: str, parent: str) -> Snapshot | None:
        above = self.stat(namespace, parent) if parent else None
        if above is not None and above.kind != COMMITTED:
            raise InvalidArgument(f"parent {parent} is not a committed snapshot")
        return above

    def _record(
        self, namespace: str, key: str, parent: str, labels: Mapping[str, str], kind: int
    ) -> Snapshot:
        now = time.time_ns()
        try:
            self._database.execute(
                "INSERT INTO snapshots VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)",
                (namespace, self.name, key, parent, kind, pack_labels(labels), now, now),
            )
        except sqlite3.IntegrityError:
            raise AlreadyExists(f"snapshot {key}: already exists") from None
        return self.stat(namespace, key)

    async def _stage(self, key: str, kind: int, above: str) -> str:
        self._staged += 1
        place = f"{self._root}/{_STAGED}{self._staged}"
        try:
            os.mkdir(place, 0o700)
            await self._backend.fill(place, kind, above)
        except OSError as err:
            shutil.rmtree(place, ignore_errors=True)
            raise ResourceExhausted(f"snapshot {key}: {err.strerror}: {err.filename}") from err
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return place

    async def commit(
        self,
        namespace: str,
        name: str,
        key: str,
        labels: Mapping[str, str],
        *,
        lease: str = "",
        onto: str = "",
    ) -> None:
        """Turn an active snapshot into a committed one; one without a parent may be laid `onto` one now."""
        active = self.stat(namespace, key)
        if active.kind != ACTIVE:
            raise FailedPrecondition(f"snapshot {key} is not active")
        if onto not in ("", active.parent) and (active.parent or not self.rebases):
            raise FailedPrecondition(
                f"snapshot {key} on {active.parent or 'nothing'} cannot be laid onto {onto}"
            )
        size, inodes = await asyncio.to_thread(disk_usage, self._backend.files(f"{self._root}/{active.id}"))
        with self._database.transaction():
            self._above(namespace, onto)
            try:
                changed = self._database.execute(
                    "UPDATE snapshots SET name = ?, kind = ?, labels = ?, updated = ?, size = ?, inodes = ?, parent = ?"
                    " WHERE id = ? AND kind = ?",
                    (
                        name, COMMITTED, pack_labels(labels), time.time_ns(), size, inodes, onto or active.parent,
                        active.id, ACTIVE,
                    ),
                )  # fmt: skip
            except sqlite3.IntegrityError:
                raise AlreadyExists(f"snapshot {name}: already exists") from None
            if not changed:
                raise NotFound(f"snapshot {key} does not exist: not found")
            self._database.execute(
                "UPDATE OR REPLACE lease_resources SET resource = ? WHERE ns = ? AND type = ? AND resource = ?",
                (name, namespace, f"snapshots/{self.name}", key),
            )
            hold(self._database, namespace, lease, f"snapshots/{self.name}", name)

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
            (pack_labels(kept), time.time_ns(), namespace, self.name, name),
        )
        return self.stat(namespace, name)

    def remove(self, namespace: str, key: str) -> None:
        """Forget it; its files go in the background."""
        found = self.stat(namespace, key)
        child = self._database.one(
            "SELECT name FROM snapshots WHERE ns = ? AND snapshotter = ? AND parent = ?",
            (namespace, self.name, key),
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
            return await asyncio.to_thread(disk_usage, self._backend.files(f"{self._root}/{found.id}"))
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
        """At boot: remove what a manager before us was filling for itself, directories without a row, and rows without a
        directory unless others lie on them."""
        for one in self._database.query(
            "SELECT ns, name FROM snapshots WHERE snapshotter = ? AND kind = ? AND instr(labels, ?)",
            (self.name, ACTIVE, f'"{UNDER_WAY}"'),
        ):
            self.remove(one["ns"], one["name"])
        lost, extra = self.strays()
        for path in extra:
            name = os.path.basename(path)
            if name.startswith(_DOOMED):
                shutil.rmtree(path, ignore_errors=True)
            else:
                _LOG.warning("directory %s of no %s snapshot: removed", name, self.name)
                self._bury(name)
        for number in sorted(lost, reverse=True):
            row = self._database.one("SELECT ns, name FROM snapshots WHERE id = ?", (number,))
            assert row is not None
            try:
                self.remove(row["ns"], row["name"])
            except FailedPrecondition as err:
                _LOG.error("snapshot %s of %s has lost its files: %s", row["name"], row["ns"], err)
            else:
                _LOG.warning("snapshot %s of %s has lost its files: forgotten", row["name"], row["ns"])

    def strays(self) -> tuple[list[int], list[str]]:
        """(numbers on record without a directory, directories on no record)."""
        rows = self._database.query("SELECT id FROM snapshots WHERE snapshotter = ?", (self.name,))
        known, there = {str(row["id"]) for row in rows}, set(os.listdir(self._root))
        return [int(name) for name in known - there], [
            f"{self._root}/{name}" for name in sorted(there - known)
        ]

    def place(self, number: int) -> str:
        """The directory of a snapshot."""
        return f"{self._root}/{number}"

    def bury(self, path: str) -> None:
        """Remove a directory on no record, in the background."""
        self._bury(os.path.basename(path))

    def forget_lost(self, namespace: str, key: str) -> None:
        """Forget a snapshot without files. Raises FailedPrecondition when a container, a lease or a child has it."""
        users = self._database.query(
            "SELECT 'container ' || id AS who FROM containers WHERE ns = ? AND snapshot_key = ? UNION "
            "SELECT 'lease ' || lease FROM lease_resources WHERE ns = ? AND type = ? AND resource = ?",
            (namespace, key, namespace, f"snapshots/{self.name}", key),
        )
        if users:
            raise FailedPrecondition(f"{users[0]['who']} has it, and there is no blob to make it of")
        self.remove(namespace, key)

    @contextlib.asynccontextmanager
    async def rebuilding(self, namespace: str, name: str) -> AsyncIterator[tuple[Mount, ...]]:
        """Mounts of a fresh directory to fill; at the end it takes the place of the committed snapshot's own.

        When the inside fails the old one stays. Raises NotFound, ResourceExhausted.
        """
        found = self.stat(namespace, name)
        below = [f"{self._root}/{one.id}" for one in self._parents(namespace, found.parent)]
        place = await self._stage(name, ACTIVE, below[0] if below else "")
        try:
            yield self._backend.mounts(place, ACTIVE, below)
            size, inodes = await asyncio.to_thread(disk_usage, self._backend.files(place))
            self.stat(namespace, name)  # it may have gone meanwhile
            own = self.place(found.id)
            if os.path.isdir(own):
                exchange(place, own)
                self._bury(os.path.basename(place))
            else:
                os.rename(place, own)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        self._database.execute(
            "UPDATE snapshots SET size = ?, inodes = ? WHERE id = ?", (size, inodes, found.id)
        )

    async def settle(self) -> None:
        """Wait for removals that are under way."""
        while self._removals:
            await asyncio.gather(*self._removals, return_exceptions=True)


class Snapshotters:
    """All of them; the first is meant when a request names none."""

    def __init__(self, *snapshotters: Snapshotter) -> None:
        self._by_name = {one.name: one for one in snapshotters}
        self._first = snapshotters[0]

    def __iter__(self) -> Iterator[Snapshotter]:
        return iter(self._by_name.values())

    def of(self, name: str) -> Snapshotter:
        """Raises InvalidArgument."""
        found = self._by_name.get(name) if name else self._first
        if found is None:
            raise InvalidArgument(f"snapshotter not loaded: {name}: invalid argument")
        return found

    def sweep(self) -> None:
        """At boot."""
        for one in self._by_name.values():
            one.sweep()

    async def settle(self) -> None:
        """Wait for removals that are under way."""
        for one in self._by_name.values():
            await one.settle()


def _from(row: Row) -> Snapshot:
    return Snapshot(
        row["id"], row["name"], row["parent"], row["kind"], unpack_labels(row["labels"]), row["created"],
        row["updated"], row["size"], row["inodes"],
    )  # fmt: skip
