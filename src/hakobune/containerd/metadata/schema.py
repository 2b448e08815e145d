"""The one SQLite file of the manager, `<root>/meta.db`.

  namespaces(name, labels)                              labels of a namespace; one exists also by having objects
  containers(ns, id, …, record)                         record: the encoded containerd Container message
  images(ns, name, digest, labels, record)              record: the encoded containerd Image message
  contents(ns, digest, size, labels, …)                 who may see a blob; the bytes are one file for all
  ingests(ns, ref, dir, …)                              writes under way; the bytes are <root>/…content/ingest/<dir>
  snapshots(id, ns, snapshotter, name, parent, kind, …) the files are <root>/…overlayfs/snapshots/<id>
  leases(ns, id, labels, created), lease_resources(ns, lease, type, resource)

Labels are JSON objects; times are nanoseconds since the epoch; kind is containerd's snapshot kind.
Rule: a row is written after the files that it names, and removed before them; boot removes files without rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from hakobune.persist.database import Database

MIGRATIONS = (
    """
CREATE TABLE namespaces (name TEXT PRIMARY KEY, labels TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE containers (
  ns TEXT NOT NULL, id TEXT NOT NULL, snapshotter TEXT NOT NULL, snapshot_key TEXT NOT NULL,
  labels TEXT NOT NULL, record BLOB NOT NULL, PRIMARY KEY (ns, id));
CREATE TABLE images (
  ns TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, labels TEXT NOT NULL, record BLOB NOT NULL,
  PRIMARY KEY (ns, name));
CREATE TABLE contents (
  ns TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, labels TEXT NOT NULL,
  created INTEGER NOT NULL, updated INTEGER NOT NULL, PRIMARY KEY (ns, digest));
CREATE INDEX contents_by_digest ON contents (digest);
CREATE TABLE ingests (
  ns TEXT NOT NULL, ref TEXT NOT NULL, dir TEXT NOT NULL UNIQUE, total INTEGER NOT NULL, expected TEXT NOT NULL,
  started INTEGER NOT NULL, updated INTEGER NOT NULL, PRIMARY KEY (ns, ref));
CREATE TABLE snapshots (
  id INTEGER PRIMARY KEY AUTOINCREMENT, ns TEXT NOT NULL, snapshotter TEXT NOT NULL, name TEXT NOT NULL,
  parent TEXT NOT NULL, kind INTEGER NOT NULL, labels TEXT NOT NULL, created INTEGER NOT NULL,
  updated INTEGER NOT NULL, size INTEGER NOT NULL, inodes INTEGER NOT NULL, UNIQUE (ns, snapshotter, name));
CREATE INDEX snapshots_by_parent ON snapshots (ns, snapshotter, parent);
CREATE TABLE leases (
  ns TEXT NOT NULL, id TEXT NOT NULL, labels TEXT NOT NULL, created INTEGER NOT NULL, PRIMARY KEY (ns, id));
CREATE TABLE lease_resources (
  ns TEXT NOT NULL, lease TEXT NOT NULL, type TEXT NOT NULL, resource TEXT NOT NULL,
  PRIMARY KEY (ns, lease, type, resource),
  FOREIGN KEY (ns, lease) REFERENCES leases (ns, id) ON DELETE CASCADE);
""",
)

# Tables whose rows make a namespace exist and keep it from being deleted.
TENANTS = ("containers", "images", "contents", "snapshots", "leases")


def open_database(path: str) -> Database:
    """Open or make it. Raises FailedPrecondition for one of a newer version."""
    return Database.open(path, MIGRATIONS)


def pack_labels(labels: Mapping[str, str]) -> str:
    """As stored."""
    return json.dumps(dict(labels), separators=(",", ":")) if labels else "{}"


def unpack_labels(stored: str) -> dict[str, str]:
    """The inverse of `pack_labels`."""
    if stored == "{}":
        return {}
    labels: dict[str, str] = json.loads(stored)
    return labels


def hold(database: Database, namespace: str, lease: str, kind: str, resource: str) -> None:
    """Note that `lease` ("" for none, an unknown one too) holds a new object."""
    if lease:
        database.execute(
            "INSERT OR IGNORE INTO lease_resources SELECT ns, id, ?, ? FROM leases WHERE ns = ? AND id = ?",
            (kind, resource, namespace, lease),
        )
