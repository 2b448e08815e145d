"""What a crash, a full disk or a hand in the directory broke: found and, where it can be, mended.

Blobs: a row without its file, a file without a row, a file that is shorter than its row or has another digest. Those
that are not what they say are forgotten, so that the next pull or load brings them again. Snapshots: a row without
its directory, a directory without a row, a layer whose files are not what its blob unpacks to. Layers are unpacked
again from their blobs, beside the old ones, and take their place in one step. Names of images whose content is gone
are told: only a pull mends them.

What is in use is never removed: a snapshot that a container, a lease or a child has stays, and a layer under a running
container is not replaced. What is being made meanwhile is too young to be called lost. Imports: the rooms it checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass

from hakobune.containerd.content.store import Content
from hakobune.containerd.diff.unpack import unpack
from hakobune.containerd.events.exchange import Exchange
from hakobune.containerd.snapshots.overlay import NAME as OVERLAY
from hakobune.containerd.snapshots.snapshotter import Snapshotter, Snapshotters
from hakobune.containerd.transfer import tree
from hakobune.containerd.transfer.blobs import Blobs
from hakobune.containerd.transfer.tree import Node
from hakobune.containerd.transfer.unpacking import chain
from hakobune.errors import FailedPrecondition, HakoError, Internal, NotFound
from hakobune.persist.database import Database, Row
from hakobune.transport import apart

Running = Callable[[str], set[str]]  # ids of containers of a namespace that have a task


@dataclass(frozen=True, slots=True)
class Finding:
    """`kind`: blob, write, snapshot, image. `problem`: missing, extra, truncated, altered, lost. `done` is what was
    done about it, "" for nothing; `why` says why nothing was."""

    kind: str
    name: str
    problem: str
    namespace: str = ""
    detail: str = ""
    done: str = ""
    why: str = ""

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class _Layer:
    """Where a committed snapshot comes from."""

    blob: str
    diff: str


class Check:
    """One look over the store; `repair` to mend what is found.

    Files and directories that belong to nothing are left alone for `young` seconds: they may be of something that is
    being made.
    """

    def __init__(
        self, database: Database, content: Content, snapshotters: Snapshotters, exchange: Exchange,
        running: Running, *, repair: bool, young: float,
    ) -> None:  # fmt: skip
        self._database = database
        self._content = content
        self._snapshotters = snapshotters
        self._exchange = exchange
        self._running = running
        self._repair = repair
        self._young = young

    async def run(self) -> AsyncIterator[Finding]:
        """Everything that is found, as it is found."""
        async for found in self._blobs():
            yield found
        for snapshotter in self._snapshotters:
            for found in self._strays(snapshotter):
                yield found
        for row in self._database.query(
            "SELECT DISTINCT ns FROM snapshots UNION SELECT DISTINCT ns FROM images"
        ):
            async for found in self._space(row["ns"]):
                yield found

    # --- blobs ---

    async def _blobs(self) -> AsyncIterator[Finding]:
        lost, extra = self._content.strays()
        for digest in lost:
            yield self._blob(digest, "missing", "its file is gone")
        for path in extra:
            if not self._is_young(path):
                kind = "write" if "/ingest/" in path else "blob"
                done = self._unlinked(path) if self._repair else ""
                yield Finding(kind, os.path.basename(path), "extra", detail="a file of no record", done=done)
        for row in self._database.query("SELECT digest, max(size) AS size FROM contents GROUP BY digest"):
            problem, detail = await asyncio.to_thread(self._content.verify, row["digest"], row["size"])
            if problem:
                yield self._blob(row["digest"], problem, detail)

    def _blob(self, digest: str, problem: str, detail: str) -> Finding:
        """It is not what its name says, so nobody can use it: forgotten, it comes again with the next pull."""
        done = ""
        if self._repair:
            self._content.forget_broken(digest)
            done = "forgotten: the next pull or load brings it again"
        return Finding("blob", digest, problem, detail=detail, done=done)

    def _is_young(self, path: str) -> bool:
        try:
            return time.time() - os.lstat(path).st_ctime < self._young
        except FileNotFoundError:
            return True

    @staticmethod
    def _unlinked(path: str) -> str:
        os.unlink(path)
        return "removed"

    # --- snapshots ---

    def _strays(self, snapshotter: Snapshotter) -> Iterator[Finding]:
        _, extra = snapshotter.strays()
        for path in extra:
            if not self._is_young(path):
                done = ""
                if self._repair:
                    snapshotter.bury(path)
                    done = "removed"
                yield Finding("snapshot", path, "extra", detail="a directory of no record", done=done)

    async def _space(self, namespace: str) -> AsyncIterator[Finding]:
        blobs = Blobs(self._content, self._exchange, namespace, "")
        layers: dict[str, _Layer] = {}
        for row in self._database.query("SELECT name, digest FROM images WHERE ns = ?", (namespace,)):
            try:
                layers |= _layers(blobs, Node("", row["digest"], 0))
            except (HakoError, KeyError, TypeError, AttributeError) as err:  # or JSON of something else
                why = "pull it again, or remove it"
                yield Finding("image", row["name"], "lost", namespace, str(err), why=why)
        busy = self._busy(namespace)
        rows = self._database.query("SELECT * FROM snapshots WHERE ns = ? ORDER BY id", (namespace,))
        for row in rows:  # parents before those that lie on them
            found = await self._snapshot(blobs, row, layers.get(row["name"]), busy)
            if found is not None:
                yield found

    def _busy(self, namespace: str) -> set[tuple[str, str]]:
        """(snapshotter, name) of everything that lies under a running container."""
        running = self._running(namespace)
        found: set[tuple[str, str]] = set()
        for row in self._database.query("SELECT * FROM containers WHERE ns = ?", (namespace,)):
            name, kind = row["snapshot_key"], row["snapshotter"] or OVERLAY
            while row["id"] in running and name and (kind, name) not in found:
                found.add((kind, name))
                one = self._database.one(
                    "SELECT parent FROM snapshots WHERE ns = ? AND snapshotter = ? AND name = ?",
                    (namespace, kind, name),
                )
                name = one["parent"] if one else ""
        return found

    async def _snapshot(
        self, blobs: Blobs, row: Row, layer: _Layer | None, busy: set[tuple[str, str]]
    ) -> Finding | None:
        snapshotter = self._snapshotters.of(row["snapshotter"])
        place = snapshotter.place(row["id"])
        problem, detail = ("", "") if os.path.isdir(place) else ("missing", "its directory is gone")
        usable = layer is not None and blobs.has(layer.blob) and not self._content.verify_size(layer.blob)
        if not problem and layer is not None and usable and row["snapshotter"] == OVERLAY:
            with contextlib.suppress(FileNotFoundError, NotFound):  # it went while we were on our way
                differing = await _differing(blobs.path(layer.blob), place)
                problem, detail = ("altered", "; ".join(differing)) if differing else ("", "")
        if not problem or self._has_gone(row):
            return None
        done = why = ""
        if self._repair:
            in_use = problem == "altered" and (row["snapshotter"], row["name"]) in busy
            try:
                if in_use:
                    raise FailedPrecondition("a running container lies on it: stop that first")
                done = await self._mended(blobs, snapshotter, row, layer if usable else None)
            except HakoError as err:
                why = str(err)
        return Finding("snapshot", row["name"], problem, row["ns"], detail, done, why)

    def _has_gone(self, row: Row) -> bool:
        """Whether the snapshot was removed, or made again, while we looked."""
        return self._database.one("SELECT 1 FROM snapshots WHERE id = ?", (row["id"],)) is None

    async def _mended(self, blobs: Blobs, snapshotter: Snapshotter, row: Row, layer: _Layer | None) -> str:
        """What was done. Raises FailedPrecondition when it is in use, and when its blob does not give the same."""
        if layer is None:
            snapshotter.forget_lost(row["ns"], row["name"])
            return "forgotten"

        async with snapshotter.rebuilding(row["ns"], row["name"]) as mounts:
            applied = await unpack(blobs.path(layer.blob), mounts)
            if applied.digest != layer.diff:
                raise FailedPrecondition(
                    f"layer {layer.blob} unpacks to {applied.digest}, not to {layer.diff}"
                )
        return f"unpacked again from {layer.blob}"


def _layers(blobs: Blobs, top: Node) -> dict[str, _Layer]:
    """Snapshots of an image's layers by name. Raises NotFound, InvalidArgument when its documents are not all there."""
    document = blobs.document(top.digest)
    found: dict[str, _Layer] = {}
    if "manifests" in document:
        here = [child for child in tree.children(document) if blobs.has(child.digest)]
        if not here:
            raise FailedPrecondition(f"image {top.digest}: none of its manifests is here")
        for child in here:
            found |= _layers(blobs, child)
        return found
    config, *layers = tree.children(document)
    if not config.is_config:
        return {}
    name = ""
    for layer, diff in zip(layers, blobs.document(config.digest)["rootfs"]["diff_ids"], strict=False):
        name = chain(name, str(diff))
        found[name] = _Layer(layer.digest, str(diff))
    return found


async def _differing(blob: str, place: str) -> list[str]:
    """Sentences about how a layer's directory is not its blob's. Raises Internal."""
    with open(blob, "rb") as source:
        status, out, err = await apart.done("verify", f"{place}/fs", stdin=source)
    if status:
        return [err.decode("utf-8", "replace").strip()] if b"error" in err else _raise(status)
    found: list[str] = json.loads(out)
    return found


def _raise(status: int) -> list[str]:
    raise Internal(f"the program that compares layers ended with status {status}")
