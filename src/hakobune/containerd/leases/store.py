"""Leases and what they hold."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hakobune.containerd.filters import Filter, fields
from hakobune.containerd.metadata.schema import pack_labels, unpack_labels
from hakobune.errors import AlreadyExists, InvalidArgument, NotFound
from hakobune.persist.database import Database, Row


@dataclass(frozen=True, slots=True)
class Lease:
    """`created` in nanoseconds since the epoch."""

    id: str
    labels: Mapping[str, str]
    created: int


class Leases:
    """Raises NotFound, AlreadyExists."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, namespace: str, lease_id: str, labels: Mapping[str, str]) -> Lease:
        """With an id of ours when there is none."""
        lease = Lease(lease_id or f"{time.time_ns()}-{secrets.token_hex(4)}", dict(labels), time.time_ns())
        try:
            self._database.execute(
                "INSERT INTO leases VALUES (?, ?, ?, ?)",
                (namespace, lease.id, pack_labels(labels), lease.created),
            )
        except sqlite3.IntegrityError:
            raise AlreadyExists(f'lease "{lease_id}": already exists') from None
        return lease

    def delete(self, namespace: str, lease_id: str) -> None:
        """With all that it holds."""
        if not self._database.execute("DELETE FROM leases WHERE ns = ? AND id = ?", (namespace, lease_id)):
            raise NotFound(f'lease "{lease_id}": not found')

    def all(self, namespace: str, filters: Iterable[str]) -> list[Lease]:
        """Those that pass, oldest first."""
        wanted = Filter(filters)
        rows = self._database.query("SELECT * FROM leases WHERE ns = ? ORDER BY created", (namespace,))
        return [
            lease for lease in map(_lease, rows) if wanted.matches(fields({"id": lease.id}, lease.labels))
        ]

    def add(self, namespace: str, lease_id: str, kind: str, resource: str) -> None:
        """Hold one object more."""
        self._check(namespace, lease_id)
        if not resource or kind.partition("/")[0] not in ("content", "snapshots", "ingests"):
            raise InvalidArgument(f'lease "{lease_id}" cannot hold {kind!r} {resource!r}')
        self._database.execute(
            "INSERT OR IGNORE INTO lease_resources VALUES (?, ?, ?, ?)",
            (namespace, lease_id, kind, resource),
        )

    def drop(self, namespace: str, lease_id: str, kind: str, resource: str) -> None:
        """Hold it no more."""
        self._check(namespace, lease_id)
        self._database.execute(
            "DELETE FROM lease_resources WHERE ns = ? AND lease = ? AND type = ? AND resource = ?",
            (namespace, lease_id, kind, resource),
        )

    def resources(self, namespace: str, lease_id: str) -> list[tuple[str, str]]:
        """(type, id) of what it holds."""
        self._check(namespace, lease_id)
        rows = self._database.query(
            "SELECT type, resource FROM lease_resources WHERE ns = ? AND lease = ? ORDER BY 1, 2",
            (namespace, lease_id),
        )
        return [(row["type"], row["resource"]) for row in rows]

    def _check(self, namespace: str, lease_id: str) -> None:
        found = self._database.one("SELECT 1 FROM leases WHERE ns = ? AND id = ?", (namespace, lease_id))
        if found is None:
            raise NotFound(f'lease "{lease_id}": not found')


def _lease(row: Row) -> Lease:
    return Lease(row["id"], unpack_labels(row["labels"]), row["created"])
