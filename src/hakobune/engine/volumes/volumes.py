"""Volumes by name: a row, a directory, and who uses it.

The directory is made before the row and deleted after it, so a crash leaves at most an empty directory, which
the next volume of that name takes. Imports: persist, errors.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from hakobune.engine.schema.filters import Filters
from hakobune.errors import AlreadyExists, Conflict, InvalidArgument, NotFound
from hakobune.persist.database import Database, Row

MIGRATION = """
CREATE TABLE volume (
    name      TEXT PRIMARY KEY,
    created   INTEGER NOT NULL,
    anonymous INTEGER NOT NULL,
    labels    TEXT NOT NULL,
    options   TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE volume_user (
    name      TEXT NOT NULL,
    container TEXT NOT NULL,
    PRIMARY KEY (name, container)
) WITHOUT ROWID;
"""

DRIVER = "local"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class Bus(Protocol):
    """Where events go."""

    def publish(self, kind: str, action: str, actor: str, attributes: Mapping[str, str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume. `path` is its directory on the host, `created` in nanoseconds since the epoch."""

    name: str
    path: str
    created: int
    anonymous: bool
    labels: Mapping[str, str]
    options: Mapping[str, str]


class Volumes:
    """All volumes of the engine, under the directory `root`."""

    def __init__(self, database: Database, root: str, bus: Bus) -> None:
        self._database = database
        self._root = root
        self._bus = bus

    def _volume(self, row: Row) -> Volume:
        path = os.path.join(self._root, row["name"], "_data")
        labels, options = json.loads(row["labels"]), json.loads(row["options"])
        return Volume(row["name"], path, row["created"], bool(row["anonymous"]), labels, options)

    def every(self) -> list[Volume]:
        """All, by name."""
        return [self._volume(row) for row in self._database.query("SELECT * FROM volume ORDER BY name")]

    def get(self, name: str) -> Volume:
        """Raises NotFound."""
        row = self._database.one("SELECT * FROM volume WHERE name = ?", (name,))
        if row is None:
            raise NotFound(f"get {name}: no such volume")
        return self._volume(row)

    def ensure(
        self,
        name: str,
        *,
        driver: str = "",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        anonymous: bool = False,
    ) -> tuple[Volume, bool]:
        """The volume of this name, made when there is none; and whether it was made.

        Raises InvalidArgument for a bad name or option, NotFound for a driver that is not there.
        """
        if driver not in ("", DRIVER):
            raise NotFound(f'error looking up volume plugin {driver}: plugin "{driver}" not found')
        try:
            return self.get(name), False
        except NotFound:
            pass
        _check(name, options or {})
        path = os.path.join(self._root, name, "_data")
        os.makedirs(path, mode=0o755, exist_ok=True)
        self._database.execute(
            "INSERT INTO volume VALUES (?, ?, ?, ?, ?)",
            (name, time.time_ns(), anonymous, json.dumps(labels or {}), json.dumps(options or {})),
        )
        self._bus.publish("volume", "create", name, {"driver": DRIVER})
        return self.get(name), True

    def create(self, name: str, driver: str, labels: Mapping[str, str], options: Mapping[str, str]) -> Volume:
        """As a client asks; without a name one is made up. Raises AlreadyExists when it has other options."""
        volume, fresh = self.ensure(
            name or secrets.token_hex(32), driver=driver, labels=labels, options=options, anonymous=not name
        )
        if not fresh and options and dict(volume.options) != dict(options):
            raise AlreadyExists(f"create {name}: volume {name} already exists with different options")
        return volume

    def users(self, name: str) -> list[str]:
        """Ids of the containers that have it."""
        rows = self._database.query("SELECT container FROM volume_user WHERE name = ?", (name,))
        return [row["container"] for row in rows]

    def use(self, name: str, container: str) -> None:
        """A container has it now."""
        self._database.execute("INSERT OR IGNORE INTO volume_user VALUES (?, ?)", (name, container))

    def release(self, name: str, container: str) -> None:
        """A container has it no more."""
        self._database.execute("DELETE FROM volume_user WHERE name = ? AND container = ?", (name, container))

    def remove(self, name: str, *, force: bool = False) -> None:
        """Delete it with its data. Raises Conflict while a container has it, NotFound unless `force`."""
        try:
            volume = self.get(name)
        except NotFound:
            if force:
                return
            raise
        if users := self.users(name):
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        self._database.execute("DELETE FROM volume WHERE name = ?", (name,))
        shutil.rmtree(os.path.dirname(volume.path), ignore_errors=True)
        self._bus.publish("volume", "destroy", name, {"driver": DRIVER})

    def prune(self, filters: Filters) -> tuple[list[str], int]:
        """Remove what nobody has, those with a name only with the filter `all`; (names, bytes won)."""
        every = filters.bool("all", False)
        gone, space = [], 0
        for volume in self.every():
            if (
                self.users(volume.name)
                or not (volume.anonymous or every)
                or not filters.labels(volume.labels)
            ):
                continue
            if "label!" in filters and filters.labels(volume.labels, name="label!"):
                continue
            space += size(volume.path)
            self.remove(volume.name)
            gone.append(volume.name)
        return gone, space


def _check(name: str, options: Mapping[str, str]) -> None:
    if not _NAME.fullmatch(name) or len(name) > 255:
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    for option in options:
        raise InvalidArgument(
            f"create {name}: invalid option: {option!r}: volumes with mount options are not served yet"
        )


def size(path: str) -> int:
    """Bytes of the files under a directory, as they are allocated."""
    total = 0
    for top, _directories, files in os.walk(path):
        for file in files:
            try:
                total += os.lstat(os.path.join(top, file)).st_blocks * 512
            except OSError:
                continue
    return total
