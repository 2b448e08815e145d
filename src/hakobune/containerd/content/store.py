"""The content store: one file for each blob, rows for who may see it.

  <root>/blobs/sha256/<hex>     whole and never changed; renamed into place after its digest was checked
  <root>/ingest/<dir>           one write under way: just its bytes
A namespace sees a blob when it has a row for it: known bytes written again in another namespace cost one row.
A write is named by a `ref` and survives its writer: `STAT` tells how far it got. One writer at a time for a ref.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hakobune.containerd.filters import Filter, fields
from hakobune.containerd.metadata.schema import hold, pack_labels, unpack_labels
from hakobune.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
)
from hakobune.failpoint import slow
from hakobune.persist.database import Database, Row

INGEST_LIFE = 24 * 3600 * 1_000_000_000  # how long an unfinished write is kept, in nanoseconds
NAMELESS = "transfer-"  # begins the refs of writes that nobody can go on with
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_THREAD_SIZE = 256 * 1024  # from here on, hashing and writing is worth a thread
_READ_SIZE = 1 << 20
_LOG = logging.getLogger("hakobune.content")


@dataclass(frozen=True, slots=True)
class Blob:
    """One row; times in nanoseconds since the epoch."""

    digest: str
    size: int
    labels: Mapping[str, str]
    created: int
    updated: int


@dataclass(frozen=True, slots=True)
class Ingest:
    """A write under way; `total` and `expected` are 0 and "" when the writer does not know."""

    ref: str
    offset: int
    total: int
    expected: str
    started: int
    updated: int


class Content:
    """Owns `root`. Raises NotFound, AlreadyExists, FailedPrecondition, ResourceExhausted."""

    def __init__(self, database: Database, root: str) -> None:
        self._database = database
        self._blobs = f"{root}/blobs/sha256"
        self._ingests = f"{root}/ingest"
        self._writing: set[tuple[str, str]] = set()
        for directory in (self._blobs, self._ingests):
            os.makedirs(directory, mode=0o700, exist_ok=True)

    # --- blobs ---

    def path(self, digest: str) -> str:
        """Where a blob's bytes are. Raises InvalidArgument."""
        return f"{self._blobs}/{check_digest(digest)[7:]}"

    def info(self, namespace: str, digest: str) -> Blob:
        """Raises NotFound."""
        row = self._database.one(
            "SELECT * FROM contents WHERE ns = ? AND digest = ?", (namespace, check_digest(digest))
        )
        if row is None:
            raise NotFound(f"content {digest}: not found")
        return _blob(row)

    def all(self, namespace: str, filters: Iterable[str]) -> list[Blob]:
        """Those that pass."""
        wanted = Filter(filters)
        rows = self._database.query("SELECT * FROM contents WHERE ns = ? ORDER BY digest", (namespace,))
        return [
            blob
            for blob in map(_blob, rows)
            if wanted.matches(fields({"digest": blob.digest, "size": str(blob.size)}, blob.labels))
        ]

    def update(self, namespace: str, digest: str, labels: Mapping[str, str], paths: Iterable[str]) -> Blob:
        """Change labels: all, or those that `paths` name as `labels.<key>`; an empty value removes one."""
        kept = dict(self.info(namespace, digest).labels)
        for path in list(paths) or ["labels"]:
            field, _, key = path.partition(".")
            if field != "labels":
                raise InvalidArgument(f'cannot update "{path}" of content {digest}')
            if not key:
                kept = dict(labels)
            elif labels.get(key):
                kept[key] = labels[key]
            else:
                kept.pop(key, None)
        self._database.execute(
            "UPDATE contents SET labels = ?, updated = ? WHERE ns = ? AND digest = ?",
            (pack_labels(kept), time.time_ns(), namespace, digest),
        )
        return self.info(namespace, digest)

    def delete(self, namespace: str, digest: str) -> None:
        """Take it from the namespace; the bytes go with the last one."""
        self.info(namespace, digest)
        self._database.execute("DELETE FROM contents WHERE ns = ? AND digest = ?", (namespace, digest))
        if self._database.one("SELECT 1 FROM contents WHERE digest = ?", (digest,)) is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(digest))

    def open(self, namespace: str, digest: str, offset: int) -> int:
        """A descriptor of the bytes at `offset`, the caller's to close."""
        blob = self.info(namespace, digest)
        if not 0 <= offset <= blob.size:
            raise OutOfRange(f"content {digest}: offset {offset} is not in its {blob.size} bytes")
        try:
            fd = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"content {digest}: its file is missing: not found") from None
        os.lseek(fd, offset, os.SEEK_SET)
        return fd

    def hold(self, namespace: str, digest: str, lease: str) -> None:
        """Let the lease hold a blob, also one that is not there yet."""
        hold(self._database, namespace, lease, "content", check_digest(digest))

    # --- writes ---

    def status(self, namespace: str, ref: str) -> Ingest:
        """How far a write got. Raises NotFound."""
        return self._ingest(self._row(namespace, ref))

    def statuses(self, namespace: str, filters: Iterable[str]) -> list[Ingest]:
        """All writes under way that pass."""
        wanted = Filter(filters)
        rows = self._database.query("SELECT * FROM ingests WHERE ns = ?", (namespace,))
        return [found for found in map(self._ingest, rows) if wanted.matches(fields({"ref": found.ref}, {}))]

    def abort(self, namespace: str, ref: str) -> None:
        """Forget a write. Raises NotFound; Unavailable while somebody writes."""
        row = self._row(namespace, ref)
        if (namespace, ref) in self._writing:
            raise Unavailable(f"ref {ref} is locked by a writer: unavailable")
        self._forget(row)

    def writer(self, namespace: str, ref: str, total: int, expected: str) -> Writer:
        """Take the ref, new or where it was left. Raises AlreadyExists for known `expected` content."""
        if not ref:
            raise InvalidArgument("write without a ref")
        if expected:
            self._refuse_known(namespace, expected)
        if (namespace, ref) in self._writing:
            raise Unavailable(f"ref {ref} is locked by another writer: unavailable")
        now = time.time_ns()
        self._database.execute(
            "INSERT INTO ingests VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (ns, ref)"
            " DO UPDATE SET total = excluded.total, expected = excluded.expected, updated = excluded.updated",
            (namespace, ref, uuid.uuid4().hex, total, expected, now, now),
        )
        row = self._row(namespace, ref)
        self._writing.add((namespace, ref))
        try:
            return Writer(self, namespace, self._ingest(row), f"{self._ingests}/{row['dir']}")
        except OSError as err:
            self._writing.discard((namespace, ref))
            raise ResourceExhausted(f"content: {err.strerror}: {err.filename}") from err

    def ingest_path(self, namespace: str, ref: str) -> str:
        """The file that is being written. Raises NotFound."""
        return f"{self._ingests}/{self._row(namespace, ref)['dir']}"

    def _refuse_known(self, namespace: str, digest: str) -> None:
        """AlreadyExists; bytes that only another namespace has stay unknown here until they are written."""
        with contextlib.suppress(NotFound):
            self.info(namespace, digest)
            raise AlreadyExists(f"content {digest}: already exists")

    def release(self, namespace: str, ref: str) -> None:
        """A writer has gone."""
        self._writing.discard((namespace, ref))
        self._database.execute(
            "UPDATE ingests SET updated = ? WHERE ns = ? AND ref = ?", (time.time_ns(), namespace, ref)
        )

    def publish(
        self, namespace: str, ref: str, digest: str, size: int, labels: Mapping[str, str], lease: str
    ) -> None:
        """The write `ref` is whole: give it its name. Raises AlreadyExists."""
        row = self._row(namespace, ref)
        with self._database.transaction():
            now = time.time_ns()
            hold(self._database, namespace, lease, "content", digest)
            self._database.execute("DELETE FROM ingests WHERE ns = ? AND ref = ?", (namespace, ref))
            try:
                self._database.execute(
                    "INSERT INTO contents VALUES (?, ?, ?, ?, ?, ?)",
                    (namespace, digest, size, pack_labels(labels), now, now),
                )
                known = False
            except sqlite3.IntegrityError:
                known = True
            os.rename(f"{self._ingests}/{row['dir']}", self.path(digest))
        if known:
            raise AlreadyExists(f"content {digest}: already exists")

    def _row(self, namespace: str, ref: str) -> Row:
        row = self._database.one("SELECT * FROM ingests WHERE ns = ? AND ref = ?", (namespace, ref))
        if row is None:
            raise NotFound(f"ref {ref}: not found")
        return row

    def _ingest(self, row: Row) -> Ingest:
        try:
            offset = os.stat(f"{self._ingests}/{row['dir']}").st_size
        except FileNotFoundError:
            offset = 0
        return Ingest(row["ref"], offset, row["total"], row["expected"], row["started"], row["updated"])

    def _forget(self, row: Row) -> None:
        self._database.execute("DELETE FROM ingests WHERE ns = ? AND ref = ?", (row["ns"], row["ref"]))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._ingests}/{row['dir']}")

    def expire(self) -> None:
        """Forget writes that nobody went on with for a day."""
        for row in self._database.query("SELECT * FROM ingests"):
            idle = time.time_ns() - row["updated"] > INGEST_LIFE
            if idle and (row["ns"], row["ref"]) not in self._writing:
                self._forget(row)

    def sweep(self) -> None:
        """At boot: what a crash left, and writes that nobody went on with for a day, or can."""
        self.expire()
        for row in self._database.query("SELECT * FROM ingests"):
            if row["ref"].startswith(NAMELESS):
                self._forget(row)
        lost, extra = self.strays()
        for path in extra:
            _LOG.warning("file %s on no record: removed", "/".join(path.split("/")[-2:]))
            os.unlink(path)
        for digest in lost:
            _LOG.warning("content %s has lost its file: forgotten", digest)
            self.forget_broken(digest)

    def strays(self) -> tuple[list[str], list[str]]:
        """(digests on record without a file, files on no record)."""
        writes = {row["dir"] for row in self._database.query("SELECT dir FROM ingests")}
        blobs = {row["digest"][7:] for row in self._database.query("SELECT DISTINCT digest FROM contents")}
        extra = [f"{self._ingests}/{name}" for name in sorted(set(os.listdir(self._ingests)) - writes)]
        files = set(os.listdir(self._blobs))
        extra += [f"{self._blobs}/{name}" for name in sorted(files - blobs)]
        return [f"sha256:{name}" for name in sorted(blobs - files)], extra

    def verify_size(self, digest: str) -> str:
        """What is wrong with a blob's file at first sight; "" for nothing."""
        row = self._database.one("SELECT max(size) AS size FROM contents WHERE digest = ?", (digest,))
        try:
            found = os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            return "its file is gone"
        return "" if row is None or found == row["size"] else f"{found} bytes instead of {row['size']}"

    def verify(self, digest: str, size: int) -> tuple[str, str]:
        """(truncated or altered, how) of a blob that is not what it says, else ("", ""). Reads all of it; blocks."""
        try:
            with open(self.path(digest), "rb") as file:
                found = os.fstat(file.fileno()).st_size
                if found < size:
                    return "truncated", f"{found} bytes instead of {size}"
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return "", ""  # deleted just now, or told as missing
        return ("", "") if digest == f"sha256:{actual}" else ("altered", f"its digest is sha256:{actual}")

    def forget_broken(self, digest: str) -> None:
        """No namespace has the blob any more, whoever refers to it; silent when it is gone."""
        self._database.execute("DELETE FROM contents WHERE digest = ?", (digest,))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(digest))


class Writer:
    """The one holder of a ref; `close` gives the ref back and keeps the bytes."""

    def __init__(self, content: Content, namespace: str, ingest: Ingest, path: str) -> None:
        self._content = content
        self._namespace = namespace
        self.ingest = ingest
        self.offset = ingest.offset
        self.digest = ""  # known from `commit` on
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._hash = hashlib.sha256()
        self._hashed = 0

    async def write(self, data: bytes, offset: int) -> None:
        """Put `data` at `offset`: at the end, or earlier to begin again from there. Raises OutOfRange."""
        if offset < self.offset:
            os.ftruncate(self._fd, offset)
            self._hash, self._hashed = hashlib.sha256(), 0
            self.offset = offset
        elif offset > self.offset:
            raise OutOfRange(
                f"ref {self.ingest.ref}: write at {offset}, its end is {self.offset}: out of range"
            )
        try:
            await _maybe_in_thread(len(data), lambda: self._put(data))
        except OSError as err:
            raise ResourceExhausted(f"content: {err.strerror}") from err
        self.offset += len(data)

    def _put(self, data: bytes) -> None:
        if self._hashed == self.offset:
            self._hash.update(data)
            self._hashed += len(data)
        view, at = memoryview(data), self.offset
        while view:
            count = os.pwrite(self._fd, view, at)
            view, at = view[count:], at + count

    async def commit(self, size: int, expected: str, labels: Mapping[str, str], lease: str) -> str:
        """Check and publish; the digest. Raises FailedPrecondition when size or digest differ."""
        if size and size != self.offset:
            raise FailedPrecondition(
                f"unexpected commit size {self.offset}, expected {size}: failed precondition"
            )
        if self._hashed != self.offset:
            await asyncio.to_thread(self._rehash)
        digest = self.digest = f"sha256:{self._hash.hexdigest()}"
        wanted = expected or self.ingest.expected
        if wanted and wanted != digest:
            raise FailedPrecondition(
                f"unexpected commit digest {digest}, expected {wanted}: failed precondition"
            )
        await asyncio.to_thread(_to_the_disk, self._fd)
        self._content.publish(self._namespace, self.ingest.ref, digest, self.offset, labels, lease)
        return digest

    async def again(self) -> None:
        """Hash what an earlier writer left."""
        if self._hashed != self.offset:
            await asyncio.to_thread(self._rehash)

    def _rehash(self) -> None:
        """Bytes that an earlier writer left have not been seen by this one."""
        self._hash, self._hashed = hashlib.sha256(), 0
        while data := os.pread(self._fd, _READ_SIZE, self._hashed):
            self._hash.update(data)
            self._hashed += len(data)

    def close(self) -> None:
        """Let go of the ref; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._content.release(self._namespace, self.ingest.ref)


def _to_the_disk(fd: int) -> None:
    slow()
    os.fsync(fd)


def check_digest(digest: str) -> str:
    """Itself, when it is one that we keep. Raises InvalidArgument."""
    if not _DIGEST.fullmatch(digest):
        raise InvalidArgument(f"digest {digest!r} is not sha256: and 64 hexadecimal digits")
    return digest


async def _maybe_in_thread(size: int, work: Callable[[], None]) -> None:
    if size >= _THREAD_SIZE:
        await asyncio.to_thread(work)
    else:
        work()


def _blob(row: Row) -> Blob:
    return Blob(row["digest"], row["size"], unpack_labels(row["labels"]), row["created"], row["updated"])
