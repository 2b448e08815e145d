"""The containers' records, kept as the encoded message with what the collector needs beside it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable

from hakobune.containerd.filters import Filter, Get, fields
from hakobune.containerd.metadata.schema import pack_labels
from hakobune.containerd.serving import check_name
from hakobune.errors import AlreadyExists, InvalidArgument, NotFound
from hakobune.failpoint import reach
from hakobune.persist.database import Database
from hakobune.proto.containers_pb2 import Container

_SECOND = 1_000_000_000
_WHOLE = ("labels", "image", "spec", "extensions", "snapshotter", "snapshot_key", "sandbox")


class Containers:
    """Raises NotFound, AlreadyExists, InvalidArgument."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, namespace: str, container_id: str) -> Container:
        """By id."""
        row = self._database.one(
            "SELECT record FROM containers WHERE ns = ? AND id = ?", (namespace, container_id)
        )
        if row is None:
            raise NotFound(f'container "{container_id}" in namespace "{namespace}": not found')
        return Container.FromString(row["record"])

    def known(self, namespace: str, container_id: str) -> bool:
        """Whether there is such a record."""
        sql = "SELECT 1 FROM containers WHERE ns = ? AND id = ?"
        return self._database.one(sql, (namespace, container_id)) is not None

    def all(self, namespace: str, filters: Iterable[str]) -> list[Container]:
        """Those that pass, by id."""
        wanted = Filter(filters)
        rows = self._database.query("SELECT record FROM containers WHERE ns = ? ORDER BY id", (namespace,))
        found = [Container.FromString(row["record"]) for row in rows]
        return [container for container in found if wanted.matches(_fields(container))]

    def create(self, namespace: str, container: Container) -> Container:
        """Record it; with its times."""
        check_name("container id", container.id)
        if container.snapshot_key and not container.snapshotter:
            raise InvalidArgument("container with a snapshot key names no snapshotter")
        if not container.spec.value:
            raise InvalidArgument(f'container "{container.id}" has no spec')
        now = time.time_ns()
        container.created_at.seconds, container.created_at.nanos = divmod(now, _SECOND)
        container.updated_at.CopyFrom(container.created_at)
        try:
            self._write("INSERT INTO containers VALUES (?, ?, ?, ?, ?, ?)", namespace, container)
            reach("containerd.record.made")
        except sqlite3.IntegrityError:
            raise AlreadyExists(f'container "{container.id}": already exists') from None
        return container

    def update(self, namespace: str, container: Container, paths: Iterable[str]) -> Container:
        """Change the named fields, or all that can be changed."""
        kept = self.get(namespace, container.id)
        paths = list(paths)
        if not paths and container.runtime.name not in ("", kept.runtime.name):
            raise InvalidArgument("a container's runtime is fixed")
        for path in paths or _WHOLE:
            _change(kept, container, path)
        kept.updated_at.seconds, kept.updated_at.nanos = divmod(time.time_ns(), _SECOND)
        self._write("INSERT OR REPLACE INTO containers VALUES (?, ?, ?, ?, ?, ?)", namespace, kept)
        return kept

    def delete(self, namespace: str, container_id: str) -> None:
        """Forget it."""
        if not self._database.execute(
            "DELETE FROM containers WHERE ns = ? AND id = ?", (namespace, container_id)
        ):
            raise NotFound(f'container "{container_id}" in namespace "{namespace}": not found')
        reach("containerd.record.deleted")

    def _write(self, sql: str, namespace: str, container: Container) -> None:
        self._database.execute(
            sql,
            (
                namespace,
                container.id,
                container.snapshotter,
                container.snapshot_key,
                pack_labels(container.labels),
                container.SerializeToString(),
            ),
        )


def _change(kept: Container, wanted: Container, path: str) -> None:
    """Copy one field of an update mask; `labels.key` and `extensions.key` name one entry."""
    field, _, key = path.partition(".")
    if field not in _WHOLE:
        raise InvalidArgument(f'cannot update "{path}" of container "{kept.id}"')
    if key and field == "labels":
        kept.labels[key] = wanted.labels[key]
    elif key:
        kept.extensions[key].CopyFrom(wanted.extensions[key])
    elif field == "labels":
        kept.labels.clear()
        kept.labels.update(wanted.labels)
    elif field == "extensions":
        kept.extensions.clear()
        kept.extensions.MergeFrom(wanted.extensions)
    elif field == "spec":
        if wanted.spec.value:
            kept.spec.CopyFrom(wanted.spec)
    else:
        setattr(kept, field, getattr(wanted, field))


def _fields(container: Container) -> Get:
    return fields(
        {"id": container.id, "image": container.image, "runtime.name": container.runtime.name},
        container.labels,
    )
