"""The garbage collector: marks what is referred to, removes the rest. Rules are containerd's.

Roots: what images stand for; containers' snapshots; what leases hold (until `containerd.io/gc.expire`);
content and snapshots with the label `containerd.io/gc.root`. From there it follows a snapshot's parent and
labels of anything marked:
  containerd.io/gc.ref.content[.<anything>]             value: a digest
  containerd.io/gc.ref.snapshot.<snapshotter>[/<any>]   value: a snapshot's name
A namespace sees only its own. It runs shortly after things were deleted, or before a synchronous deletion
is answered. It reads and removes within one turn of the loop, so nothing is made meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import Iterator, Mapping

from hakobune.containerd.content.store import Content
from hakobune.containerd.events.exchange import Exchange
from hakobune.containerd.metadata.schema import unpack_labels
from hakobune.containerd.snapshots.overlay import NAME
from hakobune.containerd.snapshots.snapshotter import Snapshotters
from hakobune.errors import HakoError
from hakobune.persist.database import Database
from hakobune.proto import event_types_pb2 as events

DELAY_SECONDS = 0.25
ROOT = "containerd.io/gc.root"
EXPIRE = "containerd.io/gc.expire"
_CONTENT = "containerd.io/gc.ref.content"
_SNAPSHOT = "containerd.io/gc.ref.snapshot."
_LOG = logging.getLogger("hakobune.gc")

Node = tuple[str, str]  # ("content", digest) or ("snapshots/<snapshotter>", name)


def references(labels: Mapping[str, str]) -> Iterator[Node]:
    """What the labels of an object refer to."""
    for label, value in labels.items():
        if label == _CONTENT or label.startswith((f"{_CONTENT}.", f"{_CONTENT}/")):
            yield "content", value
        elif label.startswith(_SNAPSHOT):
            yield f"snapshots/{label[len(_SNAPSHOT) :].partition('/')[0]}", value


def expired(labels: Mapping[str, str], now: datetime.datetime) -> bool:
    """Whether a lease's own time is over. An unreadable time never is."""
    text = labels.get(EXPIRE, "")
    with contextlib.suppress(ValueError):
        end = datetime.datetime.fromisoformat(text) if text else None
        if end is not None:
            return (end if end.tzinfo else end.replace(tzinfo=datetime.UTC)) <= now
    return False


class Collector:
    """Runs over all namespaces."""

    def __init__(
        self, database: Database, content: Content, snapshotters: Snapshotters, exchange: Exchange
    ) -> None:
        self._database = database
        self._content = content
        self._snapshotters = snapshotters
        self._exchange = exchange
        self._timer: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Collect after a short while, once for many reasons."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELAY_SECONDS, self.collect)

    async def after_delete(self, *, sync: bool) -> None:
        """As a deletion asks: at once, or soon."""
        if sync:
            self.collect()
            await self._snapshotters.settle()
        else:
            self.soon()

    def stop(self) -> None:
        """Collect no more."""
        if self._timer is not None:
            self._timer.cancel()

    def collect(self) -> None:
        """Once, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._expire_leases()
        spaces = self._database.query("SELECT ns FROM contents UNION SELECT ns FROM snapshots")
        for row in spaces:
            self._collect_in(row["ns"])

    def _expire_leases(self) -> None:
        now = datetime.datetime.now(datetime.UTC)
        for row in self._database.query("SELECT ns, id, labels FROM leases WHERE labels <> '{}'"):
            if expired(unpack_labels(row["labels"]), now):
                self._database.execute("DELETE FROM leases WHERE ns = ? AND id = ?", (row["ns"], row["id"]))

    def _collect_in(self, namespace: str) -> None:
        edges: dict[Node, list[Node]] = {}
        todo: list[Node] = list(self._roots(namespace))
        for row in self._database.query("SELECT digest, labels FROM contents WHERE ns = ?", (namespace,)):
            self._add(edges, todo, ("content", row["digest"]), unpack_labels(row["labels"]))
        for row in self._database.query(
            "SELECT snapshotter, name, parent, labels FROM snapshots WHERE ns = ? ORDER BY id", (namespace,)
        ):
            node = (f"snapshots/{row['snapshotter']}", row["name"])
            self._add(edges, todo, node, unpack_labels(row["labels"]))
            if row["parent"]:
                edges[node].append((node[0], row["parent"]))
        marked: set[Node] = set()
        while todo:
            node = todo.pop()
            if node in edges and node not in marked:
                marked.add(node)
                todo += edges[node]
        # Newest first: a child is newer than its parent.
        self._remove(namespace, [node for node in reversed(edges) if node not in marked])

    def _add(
        self, edges: dict[Node, list[Node]], todo: list[Node], node: Node, labels: dict[str, str]
    ) -> None:
        edges[node] = list(references(labels))
        if ROOT in labels:
            todo.append(node)

    def _roots(self, namespace: str) -> Iterator[Node]:
        for row in self._database.query("SELECT digest, labels FROM images WHERE ns = ?", (namespace,)):
            yield "content", row["digest"]
            yield from references(unpack_labels(row["labels"]))
        for row in self._database.query(
            "SELECT snapshotter, snapshot_key, labels FROM containers WHERE ns = ?", (namespace,)
        ):
            yield f"snapshots/{row['snapshotter'] or NAME}", row["snapshot_key"]
            yield from references(unpack_labels(row["labels"]))
        for row in self._database.query(
            "SELECT type, resource FROM lease_resources WHERE ns = ?", (namespace,)
        ):
            yield row["type"], row["resource"]

    def _remove(self, namespace: str, nodes: list[Node]) -> None:
        for kind, name in nodes:
            try:
                if kind == "content":
                    self._content.delete(namespace, name)
                    self._exchange.publish(namespace, "/content/delete", events.ContentDelete(digest=name))
                else:
                    snapshotter = kind.partition("/")[2]
                    self._snapshotters.of(snapshotter).remove(namespace, name)
                    event = events.SnapshotRemove(key=name, snapshotter=snapshotter)
                    self._exchange.publish(namespace, "/snapshot/remove", event)
            except HakoError as err:
                _LOG.warning("%s %s of %s stays: %s", kind, name, namespace, err)
        if nodes:
            _LOG.info("collected %d objects of %s", len(nodes), namespace)
