"""What images are, from one start of the engine to the next: reading a thousand of them takes a second, this takes none.

A row for each manifest or index, written when it was read. Whether its parts are still in the manager's store is for
the caller to see to. Imports: persist, model.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable
from typing import Any

from hakobune.engine.images.model import Content
from hakobune.errors import HakoError
from hakobune.persist.database import Database
from hakobune.spec.descriptor import Descriptor

MIGRATION = "CREATE TABLE image_content (digest TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;"


class Remembered:
    """Rows of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, digests: Collection[str]) -> list[Content]:
        """What is known of these."""
        rows = self._database.query("SELECT digest, record FROM image_content")
        return [content_of(json.loads(row["record"])) for row in rows if row["digest"] in digests]

    def keep(self, content: Content) -> None:
        """Write it, in the place of what was known before."""
        text = json.dumps(record_of(content), separators=(",", ":"))
        with contextlib.suppress(HakoError):  # a disk that is full keeps nothing from being read again
            self._database.execute(
                "INSERT OR REPLACE INTO image_content VALUES (?, ?)", (content.target.digest, text)
            )

    def forget(self, digests: Iterable[str]) -> None:
        """Silent for what is not known."""
        with contextlib.suppress(HakoError), self._database.transaction():
            for digest in digests:
                self._database.execute("DELETE FROM image_content WHERE digest = ?", (digest,))

    def digests(self) -> set[str]:
        """All that are known."""
        return {row["digest"] for row in self._database.query("SELECT digest FROM image_content")}


def record_of(content: Content) -> dict[str, Any]:
    """As JSON; `content_of` is the inverse."""
    return {
        "id": content.id,
        "target": _triple(content.target),
        "config": content.config,
        "chain": content.chain,
        "sizes": content.sizes,
        "created": content.created,
        "blobs": [_triple(blob) for blob in content.blobs],
    }


def content_of(record: dict[str, Any]) -> Content:
    """The inverse of `record_of`."""
    return Content(
        record["id"], Descriptor(*record["target"]), record["config"], record["chain"], tuple(record["sizes"]),
        record["created"], tuple(Descriptor(*blob) for blob in record["blobs"]),
    )  # fmt: skip


def _triple(descriptor: Descriptor) -> list[Any]:
    return [descriptor.media_type, descriptor.digest, descriptor.size]
