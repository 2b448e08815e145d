"""One SQLite file with one writer: opened, migrated, and spoken to with plain SQL.

WAL with synchronous=NORMAL: a commit outlives SIGKILL of this process and costs 0.04 ms; the last commits
before a power cut may be lost, never torn. Nothing here outlives a reboot but images and stopped containers.
Imports: sqlite3, errors.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from hakobune.errors import FailedPrecondition, HakoError, Internal, ResourceExhausted
from hakobune.failpoint import slow

_CHECKPOINT_PAGES = 128
_RESERVED_BYTES = 1 << 20  # twice what the log holds between two checkpoints

Row = sqlite3.Row
Values = Sequence[Any]


class Database:
    """Used from one thread. Raises ResourceExhausted when the disk is full, Internal for other failures."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: str, migrations: Sequence[str]) -> Database:
        """Open or make the file (0600) and bring it to the newest schema.

        `migrations[n]` is the SQL script from version n to n + 1; a file from a newer program raises
        FailedPrecondition and is left alone.
        """
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        try:
            connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
            connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=5000"):
                connection.execute(f"PRAGMA {pragma}")
            _migrate(connection, path, migrations)
            _reserve(connection)
        except sqlite3.Error as err:
            raise _translate(err, path) from err
        return cls(connection)

    def execute(self, sql: str, values: Values = ()) -> int:
        """Run one statement; returns the number of changed rows. A constraint that is broken raises sqlite3.IntegrityError."""
        if not self._connection.in_transaction:
            slow()
        try:
            return self._connection.execute(sql, values).rowcount
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as err:
            raise _translate(err, sql) from err

    def query(self, sql: str, values: Values = ()) -> list[Row]:
        """All rows of a SELECT."""
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as err:
            raise _translate(err, sql) from err

    def one(self, sql: str, values: Values = ()) -> Row | None:
        """The first row of a SELECT, or None."""
        rows = self.query(sql, values)
        return rows[0] if rows else None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside count together, or none of them. Does not nest."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            slow()
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Write back and close; may be called twice."""
        self._connection.close()


def _reserve(connection: sqlite3.Connection) -> None:
    """Room in both files for what has to be written when the disk is full: ends, stops, removals.

    The log is written over from its beginning after each checkpoint and keeps its size; pages that a dropped
    table has left are used first.
    """
    connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
    try:
        connection.executescript(
            f"BEGIN; CREATE TABLE room (filler BLOB); INSERT INTO room VALUES (zeroblob({_RESERVED_BYTES}));"
            "DROP TABLE room; COMMIT; PRAGMA wal_checkpoint(RESTART)"
        )
    except sqlite3.OperationalError:  # it is full already
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _migrate(connection: sqlite3.Connection, path: str, migrations: Sequence[str]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise FailedPrecondition(
            f"{path} was written by a newer version (schema {version}, known {len(migrations)})"
        )
    for number in range(version, len(migrations)):
        connection.executescript(f"BEGIN;\n{migrations[number]};\nPRAGMA user_version={number + 1};\nCOMMIT;")


def _translate(err: sqlite3.Error, what: str) -> HakoError:
    if getattr(err, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_IOERR_WRITE"):
        return ResourceExhausted(f"database: no space left on device ({what})")
    return Internal(f"database: {err} ({what})")
