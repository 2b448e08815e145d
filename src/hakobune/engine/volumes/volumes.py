"""The engine's volumes and who uses them.

Schema: volume(name, record JSON), volume_user(volume, container). A row stands before its directory is made
and until the directory is out of sight, so a crash leaves no directory that nobody knows. All methods that
the containers room calls are synchronous and fast: deleting is done by the trash's thread. Imports: persist.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

from hakobune.engine.volumes.model import ANONYMOUS, DRIVER, Volume, check_driver, check_name, check_options
from hakobune.engine.volumes.trash import Trash
from hakobune.errors import Conflict, Internal, InvalidArgument, NotFound, ResourceExhausted
from hakobune.failpoint import reach
from hakobune.persist.database import Database

MIGRATION = """
CREATE TABLE volume (
    name   TEXT PRIMARY KEY,
    record TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE volume_user (
    volume    TEXT NOT NULL REFERENCES volume (name) ON DELETE CASCADE,
    container TEXT NOT NULL,
    PRIMARY KEY (volume, container)
) WITHOUT ROWID;
"""


class Bus(Protocol):
    """Where events go."""

    def publish(self, kind: str, action: str, actor: str, attributes: Mapping[str, str]) -> None: ...


class Volumes:
    """All volumes, in memory and on disk; used from one thread."""

    def __init__(self, database: Database, root: str, bus: Bus) -> None:
        self._database = database
        self._root = root
        self._bus = bus
        self._volumes: dict[str, Volume] = {}
        self._users: dict[str, set[str]] = {}
        os.makedirs(root, mode=0o710, exist_ok=True)
        self._trash = Trash(root)
        for row in database.query("SELECT name, record FROM volume"):
            record = json.loads(row["record"])
            name = row["name"]
            self._volumes[name] = Volume(
                name, self._directory(name), record["created"], record["labels"], record["options"]
            )
            self._users[name] = set()
        for row in database.query("SELECT volume, container FROM volume_user"):
            self._users[row["volume"]].add(row["container"])
        self._finish_removals()

    def _directory(self, name: str) -> str:
        return os.path.join(self._root, name)

    def _finish_removals(self) -> None:
        for name in self._trash.left_over():
            if name in self._volumes and not os.path.lexists(self._directory(name)):
                self._forget(name)

    def __iter__(self) -> Iterator[Volume]:
        return iter(list(self._volumes.values()))

    def every(self) -> list[Volume]:
        """All, in the order of their names."""
        return sorted(self, key=lambda one: one.name)

    def get(self, name: str) -> Volume:
        """By name. Raises NotFound."""
        try:
            return self._volumes[name]
        except KeyError:
            raise NotFound(f"get {name}: no such volume") from None

    def users(self, name: str) -> list[str]:
        """Ids of the containers that use it."""
        return sorted(self._users.get(name, ()))

    def create(self, name: str = "", *, driver: str = "", labels: Mapping[str, str] | None = None,
               options: Mapping[str, str] | None = None, anonymous: bool = False,
               user: str = "") -> tuple[Volume, bool]:  # fmt: skip
        """The volume of this name (a new name for ""), and whether it is new; used by the container `user`, if any.

        Raises InvalidArgument, NotFound (driver), Unimplemented (options), ResourceExhausted; nothing is left.
        """
        check_driver(driver)
        if not name:
            name, anonymous = secrets.token_hex(32), True
        if name in self._volumes:
            if user:
                self.use(name, user)
            return self._volumes[name], False
        check_name(name)
        check_options(name, options or {})
        marks = {ANONYMOUS: ""} if anonymous else {}
        volume = Volume(
            name, self._directory(name), time.time_ns(), {**(labels or {}), **marks}, dict(options or {})
        )
        self._remember(volume, user)
        reach("engine.volume.recorded")
        try:
            _make(volume)
        except BaseException:
            self._trash.throw(name)
            self._forget(name)
            raise
        self._tell(volume, "create")
        return volume, True

    def ensure(self, name: str, *, driver: str = "", labels: Mapping[str, str] | None = None,
               options: Mapping[str, str] | None = None, anonymous: bool = False,
               user: str = "") -> tuple[Volume, bool]:  # fmt: skip
        """As `create`, for a container: what `path` names is there when this returns."""
        volume, fresh = self.create(
            name, driver=driver, labels=labels, options=options, anonymous=anonymous, user=user
        )
        if not fresh:
            _make(volume)
        if not os.path.isdir(volume.path):
            raise InvalidArgument(
                f"failed to mount local volume {volume.name}: {volume.path}: no such directory"
            )
        return volume, fresh

    def _remember(self, volume: Volume, user: str) -> None:
        record = {"created": volume.created, "labels": volume.labels, "options": volume.options}
        with self._database.transaction():
            self._database.execute("INSERT INTO volume VALUES (?, ?)", (volume.name, json.dumps(record)))
            if user:
                self._database.execute("INSERT INTO volume_user VALUES (?, ?)", (volume.name, user))
        self._volumes[volume.name] = volume
        self._users[volume.name] = {user} if user else set()

    def _forget(self, name: str) -> None:
        self._database.execute("DELETE FROM volume WHERE name = ?", (name,))
        self._volumes.pop(name, None)
        self._users.pop(name, None)

    def use(self, name: str, container: str) -> None:
        """Note that a container (its id) has it. Raises NotFound; twice is once."""
        self.get(name)
        self._database.execute("INSERT OR IGNORE INTO volume_user VALUES (?, ?)", (name, container))
        self._users[name].add(container)

    def release(self, name: str, container: str) -> None:
        """The container has it no more; silent when it had not."""
        self._database.execute(
            "DELETE FROM volume_user WHERE volume = ? AND container = ?", (name, container)
        )
        self._users.get(name, set()).discard(container)

    def keep_users(self, containers: Collection[str]) -> None:
        """After a crash: forget users that are none of these containers, and nameless volumes made for them."""
        for name, users in list(self._users.items()):
            lost = users - set(containers)
            for gone in lost:
                self.release(name, gone)
            if lost and not self._users[name] and ANONYMOUS in self._volumes[name].labels:
                self.remove(name)

    def remove(self, name: str, *, force: bool = False) -> None:
        """Delete it with its data. Raises Conflict while it is used, NotFound unless `force`."""
        if force and name not in self._volumes:
            return
        volume = self.get(name)
        if users := self.users(name):
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        try:
            self._trash.throw(name)
        except OSError as err:
            raise Internal(f"remove {name}: {err.strerror}") from err
        reach("engine.volume.thrown")
        self._forget(name)
        self._tell(volume, "destroy")

    async def emptied(self) -> None:
        """Wait until the data of removed volumes is deleted."""
        await self._trash.emptied()

    def _tell(self, volume: Volume, action: str) -> None:
        self._bus.publish("volume", action, volume.name, {"driver": DRIVER})


def _make(volume: Volume) -> None:
    """The directories of a volume; those that are there stay. Raises ResourceExhausted, Internal."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(volume.directory, 0o701)
        with contextlib.suppress(FileExistsError):
            os.mkdir(volume.mountpoint)
            os.chmod(volume.mountpoint, 0o755)  # whatever our umask
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhausted(f"create {volume.name}: no space left on device") from err
        raise Internal(f"create {volume.name}: {err.strerror}: {err.filename}") from err


def size(path: str) -> int:
    """Bytes of the files under a directory, hard links counted once; what vanishes meanwhile does not count."""
    total, seen = 0, set()
    for directory, _, files in os.walk(path):
        for name in files:
            try:
                status = os.lstat(os.path.join(directory, name))
            except OSError:
                continue
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    return total
