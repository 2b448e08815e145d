"""The engine's record of its containers: one row each, an index in memory, names that belong to one only.

Schema: container(id, name unique, record JSON). A name is taken by the INSERT, so two clients racing on one
name meet the same answer. Imports: persist, model.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import sys
from collections.abc import Iterator

from hakobune.engine.containers.model import Container, from_record
from hakobune.errors import Conflict, HakoError, InvalidArgument, NotFound
from hakobune.persist.database import Database

MIGRATION = """
CREATE TABLE container (
    id     TEXT PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL
) WITHOUT ROWID;
"""

_AGAIN_SECONDS = 1.0
_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")


def check_name(name: str) -> str:
    """The name without a leading slash. Raises InvalidArgument."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name.lstrip("/")


class Store:
    """All containers, in memory and on disk."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_id: dict[str, Container] = {}
        self._ids: dict[str, str] = {}  # name -> id
        for row in database.query("SELECT record FROM container"):
            container = from_record(json.loads(row["record"]))
            self._by_id[container.id] = container
            self._ids[container.name] = container.id

    def __iter__(self) -> Iterator[Container]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, reference: str) -> Container | None:
        """By full id, name, or a beginning of an id that fits one container only.

        Raises InvalidArgument when several fit.
        """
        reference = reference.lstrip("/")
        if container := self._by_id.get(reference):
            return container
        if identity := self._ids.get(reference):
            return self._by_id[identity]
        fitting = (
            [identity for identity in self._by_id if identity.startswith(reference)] if reference else []
        )
        if len(fitting) > 1:
            raise InvalidArgument(f"multiple IDs found with provided prefix: {reference}")
        return self._by_id[fitting[0]] if fitting else None

    def get(self, reference: str) -> Container:
        """As `find`; raises NotFound with Docker's words."""
        container = self.find(reference)
        if container is None:
            raise NotFound(f"No such container: {reference}")
        return container

    def check_free(self, name: str) -> None:
        """Raise Conflict when another container has this name."""
        if owner := self._ids.get(name):
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{owner}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )

    def add(self, container: Container) -> None:
        """Record a new container. Raises Conflict when its name has been taken."""
        self.check_free(container.name)
        try:
            self._database.execute(
                "INSERT INTO container VALUES (?, ?, ?)",
                (container.id, container.name, json.dumps(container.record())),
            )
        except sqlite3.IntegrityError as err:
            raise Conflict(f'Conflict. The container name "/{container.name}" is already in use.') from err
        self._by_id[container.id] = container
        self._ids[container.name] = container.id

    def save(self, container: Container) -> None:
        """Record how it stands now; nothing when it has been removed."""
        if container.id in self._by_id:
            self._database.execute(
                "UPDATE container SET record = ? WHERE id = ?", (json.dumps(container.record()), container.id)
            )

    def save_at_last(self, container: Container) -> None:
        """As `save`, for what has happened already: a disk that is full keeps nothing from going on.

        It is tried again until it succeeds. Belongs to the loop's thread.
        """
        try:
            self.save(container)
        except HakoError as err:
            print(f"hakod: container {container.short_id} not recorded: {err}", file=sys.stderr)
            asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self.save_at_last, container)

    def rename(self, container: Container, name: str) -> None:
        """Give it another name. Raises Conflict."""
        self.check_free(name)
        old, container.name = container.name, name
        try:
            self._database.execute(
                "UPDATE container SET name = ?, record = ? WHERE id = ?",
                (name, json.dumps(container.record()), container.id),
            )
        except sqlite3.IntegrityError as err:
            container.name = old
            raise Conflict(f'Conflict. The container name "/{name}" is already in use.') from err
        del self._ids[old]
        self._ids[name] = container.id

    def remove(self, container: Container) -> None:
        """Forget it."""
        self._database.execute("DELETE FROM container WHERE id = ?", (container.id,))
        self._by_id.pop(container.id, None)
        self._ids.pop(container.name, None)
