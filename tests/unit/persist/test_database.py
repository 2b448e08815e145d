"""One SQLite file: migrations, transactions, errors in our words."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from hakobune.errors import FailedPrecondition, Internal, ResourceExhausted
from hakobune.persist.database import Database

ONE = "CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER)"
TWO = "ALTER TABLE t ADD COLUMN more TEXT DEFAULT 'm'; CREATE TABLE u (id TEXT REFERENCES t)"


def test_migrations_run_once_and_in_order(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "x.db")
    first = Database.open(path, [ONE])
    first.execute("INSERT INTO t VALUES (?, ?)", ("a", 1))
    first.close()
    first.close()
    second = Database.open(path, [ONE, TWO])
    row = second.one("SELECT * FROM t")
    assert row is not None
    assert tuple(row) == ("a", 1, "m")
    assert row["more"] == "m"
    second.close()
    assert os.stat(path).st_mode & 0o777 == 0o600
    with pytest.raises(FailedPrecondition, match="newer version"):
        Database.open(path, [ONE])


def test_a_broken_migration_changes_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "x.db")
    Database.open(path, [ONE]).close()
    with pytest.raises(Internal):
        Database.open(path, [ONE, "CREATE TABLE v (id TEXT); CREATE NONSENSE"])
    again = Database.open(path, [ONE])
    assert again.query("SELECT name FROM sqlite_master WHERE name = 'v'") == []
    again.close()


def test_transactions(tmp_path: Path) -> None:
    database = Database.open(str(tmp_path / "x.db"), [ONE])
    with database.transaction():
        database.execute("INSERT INTO t VALUES ('a', 1)")

    def both() -> None:
        with database.transaction():
            for name in ("b", "a"):
                database.execute("INSERT INTO t (id) VALUES (?)", (name,))

    with pytest.raises(sqlite3.IntegrityError):
        both()
    assert [row["id"] for row in database.query("SELECT id FROM t")] == ["a"]
    assert database.execute("UPDATE t SET n = 2") == 1
    assert database.one("SELECT * FROM t WHERE id = 'zz'") is None
    database.close()


def test_there_is_room_for_what_must_be_written_on_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    database = Database.open(str(path), [ONE])
    sizes = path.stat().st_size, Path(f"{path}-wal").stat().st_size
    for number in range(500):
        with database.transaction():
            database.execute("INSERT INTO t (id) VALUES (?)", (f"{number:0100}",))
    assert (path.stat().st_size, Path(f"{path}-wal").stat().st_size) == sizes
    database.close()


def test_a_commit_that_fails_leaves_no_transaction_open(tmp_path: Path) -> None:
    database = Database.open(str(tmp_path / "x.db"), [ONE])
    database.execute("PRAGMA foreign_keys=ON")
    database.execute("CREATE TABLE child (of TEXT REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)")

    def orphan() -> None:
        with database.transaction():
            database.execute("INSERT INTO child VALUES ('nobody')")

    for _ in range(2):
        with pytest.raises(sqlite3.IntegrityError):
            orphan()
    database.close()


def test_errors(tmp_path: Path) -> None:
    database = Database.open(str(tmp_path / "x.db"), [ONE, TWO])
    database.execute("INSERT INTO t (id) VALUES ('a')")
    with pytest.raises(sqlite3.IntegrityError):
        database.execute("INSERT INTO t (id) VALUES ('a')")
    with pytest.raises(sqlite3.IntegrityError):
        database.execute("INSERT INTO u VALUES ('nobody')")
    with pytest.raises(Internal):
        database.execute("NONSENSE")
    database.execute("PRAGMA max_page_count=8")
    with pytest.raises(ResourceExhausted, match="no space left"):
        database.execute("INSERT INTO t (id, more) VALUES ('big', ?)", ("x" * 2_000_000,))
    database.close()
