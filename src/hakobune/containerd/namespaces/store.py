"""Namespaces: one exists when it was created, or has objects."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from hakobune.containerd.metadata.schema import TENANTS, pack_labels, unpack_labels
from hakobune.containerd.serving import check_name
from hakobune.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from hakobune.persist.database import Database

_ALL = " UNION ".join(f"SELECT DISTINCT ns AS name FROM {table}" for table in TENANTS)


class Namespaces:
    """Raises NotFound, AlreadyExists, FailedPrecondition, InvalidArgument."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str, dict[str, str]]:
        """Labels by name."""
        found: dict[str, dict[str, str]] = {row["name"]: {} for row in self._database.query(_ALL)}
        for row in self._database.query("SELECT name, labels FROM namespaces"):
            found[row["name"]] = unpack_labels(row["labels"])
        return dict(sorted(found.items()))

    def get(self, name: str) -> dict[str, str]:
        """Its labels."""
        found = self.all()
        if name not in found:
            raise NotFound(f'namespace "{name}": not found')
        return found[name]

    def create(self, name: str, labels: Mapping[str, str]) -> None:
        """A new one."""
        check_name("namespace", name)
        try:
            self._database.execute("INSERT INTO namespaces VALUES (?, ?)", (name, pack_labels(labels)))
        except sqlite3.IntegrityError:
            raise AlreadyExists(f'namespace "{name}": already exists') from None

    def update(self, name: str, labels: Mapping[str, str], paths: Iterable[str]) -> dict[str, str]:
        """Change labels: all, or those that `paths` name as `labels.<key>`."""
        kept = self.get(name)
        for path in list(paths) or ["labels"]:
            field, _, key = path.partition(".")
            if field != "labels":
                raise InvalidArgument(f'cannot update "{path}" of namespace "{name}"')
            if not key:
                kept = dict(labels)
            elif labels.get(key):
                kept[key] = labels[key]
            else:
                kept.pop(key, None)
        self._database.execute("INSERT OR REPLACE INTO namespaces VALUES (?, ?)", (name, pack_labels(kept)))
        return kept

    def delete(self, name: str) -> None:
        """An empty one."""
        self.get(name)
        held = [
            table
            for table in TENANTS
            if self._database.one(f"SELECT 1 FROM {table} WHERE ns = ? LIMIT 1", (name,)) is not None
        ]
        if held:
            raise FailedPrecondition(f'namespace "{name}" must be empty, but it still has {", ".join(held)}')
        self._database.execute("DELETE FROM namespaces WHERE name = ?", (name,))
