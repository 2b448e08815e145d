"""The garbage collector: reads what there is, keeps what metadata/marking.py says, and removes the rest.

A namespace sees only its own. It runs shortly after things were deleted, or before a synchronous deletion is
answered. It reads and removes within one turn of the loop, so nothing is made meanwhile.
"""

from __future__ import annotations

import asyncio
import datetime
import logging

from hakobune.containerd.content.store import Content
from hakobune.containerd.events.exchange import Exchange
from hakobune.containerd.images.store import Images
from hakobune.containerd.metadata.marking import Facts, Node, expired, kept
from hakobune.containerd.metadata.schema import unpack_labels
from hakobune.containerd.snapshots.overlay import NAME
from hakobune.containerd.snapshots.snapshotter import Snapshotters
from hakobune.errors import HakoError
from hakobune.persist.database import Database, Row
from hakobune.proto import event_types_pb2 as events
from hakobune.proto import images_pb2

DELAY_SECONDS = 1.0  # what a client makes without a lease has that long to be referred to
_LOG = logging.getLogger("hakobune.gc")


class Collector:
    """Runs over all namespaces."""

    def __init__(
        self,
        database: Database,
        content: Content,
        images: Images,
        snapshotters: Snapshotters,
        exchange: Exchange,
    ) -> None:
        self._database = database
        self._content = content
        self._images = images
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
        self._content.expire()
        spaces = self._database.query(
            "SELECT ns FROM contents UNION SELECT ns FROM snapshots UNION SELECT ns FROM images"
        )
        for row in spaces:
            self._collect_in(row["ns"])

    def _expire_leases(self) -> None:
        now = datetime.datetime.now(datetime.UTC)
        for row in self._database.query("SELECT ns, id, labels FROM leases WHERE labels <> '{}'"):
            if expired(unpack_labels(row["labels"]), now):
                self._database.execute("DELETE FROM leases WHERE ns = ? AND id = ?", (row["ns"], row["id"]))

    def _collect_in(self, namespace: str) -> None:
        facts = self._facts(namespace)
        stays = kept(facts)
        # Newest first: a child is newer than its parent.
        self._remove(namespace, [node for node in reversed(facts.labels) if node not in stays])

    def _facts(self, namespace: str) -> Facts:
        facts = Facts(datetime.datetime.now(datetime.UTC))
        for row in self._of(namespace, "SELECT digest, labels FROM contents WHERE ns = ?"):
            facts.labels["content", row["digest"]] = unpack_labels(row["labels"])
        for row in self._of(
            namespace, "SELECT snapshotter, name, parent, labels FROM snapshots WHERE ns = ? ORDER BY id"
        ):
            node = (f"snapshots/{row['snapshotter']}", row["name"])
            facts.labels[node] = unpack_labels(row["labels"])
            if row["parent"]:
                facts.below[node] = (node[0], row["parent"])
        for row in self._of(namespace, "SELECT name, digest, labels FROM images WHERE ns = ?"):
            facts.labels["images", row["name"]] = unpack_labels(row["labels"])
            facts.below["images", row["name"]] = ("content", row["digest"])
        for row in self._of(
            namespace, "SELECT id, snapshotter, snapshot_key, labels FROM containers WHERE ns = ?"
        ):
            facts.labels["containers", row["id"]] = unpack_labels(row["labels"])
            facts.below["containers", row["id"]] = (
                f"snapshots/{row['snapshotter'] or NAME}", row["snapshot_key"],
            )  # fmt: skip
        held: dict[str, list[Node]] = {}
        for row in self._of(namespace, "SELECT lease, type, resource FROM lease_resources WHERE ns = ?"):
            held.setdefault(row["lease"], []).append((row["type"], row["resource"]))
        for row in self._of(namespace, "SELECT id, labels FROM leases WHERE ns = ?"):
            facts.leases.append((unpack_labels(row["labels"]), held.get(row["id"], ())))
        return facts

    def _of(self, namespace: str, sql: str) -> list[Row]:
        return self._database.query(sql, (namespace,))

    def _remove(self, namespace: str, nodes: list[Node]) -> None:
        for kind, name in nodes:
            try:
                if kind == "content":
                    self._content.delete(namespace, name)
                    self._exchange.publish(namespace, "/content/delete", events.ContentDelete(digest=name))
                elif kind == "images":
                    self._images.delete(namespace, name)
                    self._exchange.publish(namespace, "/images/delete", images_pb2.ImageDelete(name=name))
                else:
                    snapshotter = kind.partition("/")[2]
                    self._snapshotters.of(snapshotter).remove(namespace, name)
                    event = events.SnapshotRemove(key=name, snapshotter=snapshotter)
                    self._exchange.publish(namespace, "/snapshot/remove", event)
            except HakoError as err:
                _LOG.warning("%s %s of %s stays: %s", kind, name, namespace, err)
        if nodes:
            _LOG.info("collected %d objects of %s", len(nodes), namespace)
