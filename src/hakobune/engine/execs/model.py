"""One exec: what was asked for, and how it stands. Recorded, so that its exit code outlives the engine."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from hakobune.errors import HakoError, NotFound
from hakobune.persist.database import Database

MIGRATION = """
CREATE TABLE exec (
    id        TEXT PRIMARY KEY,
    container TEXT NOT NULL,
    record    TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX exec_of ON exec (container);
"""


@dataclass(slots=True)
class Exec:
    """`config` is the request's ExecConfig; `status` goes created, running, exited. `exit_code` None until then."""

    id: str
    container: str
    config: dict[str, Any]
    status: str = "created"
    pid: int = 0
    exit_code: int | None = None
    prepared: asyncio.Task[None] | None = None  # the manager is being told of it ahead of the start
    prepared_for: int = 0  # pid of the container's life that this was for
    attached: bool = False  # a client's connection is in the shim's hands
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def tty(self) -> bool:
        """Whether it has a terminal of its own."""
        return bool(self.config["Tty"])


class Execs:
    """All execs of all containers, in memory and on disk."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_id: dict[str, Exec] = {}
        for row in database.query("SELECT id, container, record FROM exec"):
            self._by_id[row["id"]] = Exec(row["id"], row["container"], **json.loads(row["record"]))

    def get(self, identity: str) -> Exec:
        """By its id or a beginning of it that fits one only. Raises NotFound."""
        if found := self._by_id.get(identity):
            return found
        fitting = [one for name, one in self._by_id.items() if identity and name.startswith(identity)]
        if len(fitting) != 1:
            raise NotFound(f"No such exec instance: {identity}")
        return fitting[0]

    def of(self, container: str) -> Iterator[Exec]:
        """Those of one container."""
        return iter([one for one in self._by_id.values() if one.container == container])

    def add(self, one: Exec) -> None:
        """In memory only: an exec that never started needs no record."""
        self._by_id[one.id] = one

    def save(self, one: Exec) -> None:
        """Record how it stands."""
        record = {"config": one.config, "status": one.status, "pid": one.pid, "exit_code": one.exit_code}
        self._database.execute(
            "INSERT OR REPLACE INTO exec VALUES (?, ?, ?)", (one.id, one.container, json.dumps(record))
        )

    def save_if_possible(self, one: Exec) -> None:
        """As `save`: its record helps only those who ask after a crash, so a full disk stops nothing."""
        try:
            self.save(one)
        except HakoError as err:
            print(f"hakod: exec {one.id[:12]} not recorded: {err}", file=sys.stderr)

    def prune(self, container: str) -> None:
        """The container has ended: its execs have too; those that clients may still ask about are kept."""
        for one in self.of(container):
            if one.status == "created":
                del self._by_id[one.id]
            elif one.status in ("starting", "running"):
                one.status, one.exit_code, one.pid = "exited", 137, 0
                self.save_if_possible(one)

    def keep(self, containers: Collection[str]) -> None:
        """After a crash: drop those of containers that are none of these."""
        for container in {one.container for one in self._by_id.values()} - set(containers):
            self.forget(container)

    def forget(self, container: str) -> None:
        """Drop all of a container."""
        gone = [one.id for one in self._by_id.values() if one.container == container]
        if gone:
            for identity in gone:
                del self._by_id[identity]
            self._database.execute("DELETE FROM exec WHERE container = ?", (container,))
