"""The images' records: a name, what it stands for, labels; kept as the encoded message."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable

from hakobune.containerd.content.store import check_digest
from hakobune.containerd.filters import Filter, Get, fields
from hakobune.containerd.metadata.schema import pack_labels
from hakobune.errors import AlreadyExists, InvalidArgument, NotFound
from hakobune.persist.database import Database
from hakobune.proto.images_pb2 import Image

_SECOND = 1_000_000_000


class Images:
    """Raises NotFound, AlreadyExists, InvalidArgument."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, namespace: str, name: str) -> Image:
        """By its full name."""
        row = self._database.one("SELECT record FROM images WHERE ns = ? AND name = ?", (namespace, name))
        if row is None:
            raise NotFound(f'image "{name}": not found')
        return Image.FromString(row["record"])

    def all(self, namespace: str, filters: Iterable[str]) -> list[Image]:
        """Those that pass, by name."""
        wanted = Filter(filters)
        rows = self._database.query("SELECT record FROM images WHERE ns = ? ORDER BY name", (namespace,))
        found = [Image.FromString(row["record"]) for row in rows]
        return [image for image in found if not wanted or wanted.matches(_fields(image))]

    def create(self, namespace: str, image: Image) -> Image:
        """With its times."""
        _check(image)
        _stamp(image)
        if not image.HasField("created_at"):
            image.created_at.CopyFrom(image.updated_at)
        try:
            self._write("INSERT", namespace, image)
        except sqlite3.IntegrityError:
            raise AlreadyExists(f'image "{image.name}": already exists') from None
        return image

    def update(self, namespace: str, image: Image, paths: Iterable[str]) -> Image:
        """Change target and labels, or only what `paths` name."""
        kept = self.get(namespace, image.name)
        for path in list(paths) or ["labels", "target"]:
            field, _, key = path.partition(".")
            if path == "labels":
                kept.labels.clear()
                kept.labels.update(image.labels)
            elif field == "labels":
                kept.labels[key] = image.labels[key]
            elif field == "target":
                kept.target.CopyFrom(image.target)
            else:
                raise InvalidArgument(f'cannot update "{path}" of image "{image.name}"')
        _check(kept)
        _stamp(kept)
        self._write("INSERT OR REPLACE", namespace, kept)
        return kept

    def delete(self, namespace: str, name: str, digest: str = "") -> None:
        """Take the name away; with `digest`, only while it stands for that."""
        image = self.get(namespace, name)
        if digest and image.target.digest != digest:
            raise NotFound(f'image "{name}" has another target: not found')
        self._database.execute("DELETE FROM images WHERE ns = ? AND name = ?", (namespace, name))

    def _write(self, verb: str, namespace: str, image: Image) -> None:
        record = image.SerializeToString()
        self._database.execute(
            f"{verb} INTO images VALUES (?, ?, ?, ?, ?)",
            (namespace, image.name, image.target.digest, pack_labels(image.labels), record),
        )


def _check(image: Image) -> None:
    if not image.name:
        raise InvalidArgument("image name is empty")
    check_digest(image.target.digest)
    if not image.target.media_type:
        raise InvalidArgument(f'image "{image.name}": its target has no media type')
    if image.target.size <= 0:
        raise InvalidArgument(f'image "{image.name}": its target has no size')


def _stamp(image: Image) -> None:
    image.updated_at.seconds, image.updated_at.nanos = divmod(time.time_ns(), _SECOND)


def _fields(image: Image) -> Get:
    plain = {
        "name": image.name,
        "target.digest": image.target.digest,
        "target.mediatype": image.target.media_type,
    }
    return fields(plain, image.labels)
