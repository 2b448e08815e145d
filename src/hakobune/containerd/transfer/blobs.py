"""The content store as a transfer uses it: one namespace, one lease, whole blobs and JSON documents."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from hakobune.containerd.content.store import NAMELESS, Content, Writer
from hakobune.containerd.events.exchange import Exchange
from hakobune.errors import AlreadyExists, FailedPrecondition, HakoError, InvalidArgument, NotFound
from hakobune.proto import event_types_pb2 as events

LARGEST_DOCUMENT = 20 << 20  # containerd's limit, too
_CHUNK = 1 << 20


class Blobs:
    """Raises what the store raises; what is written is held by the lease."""

    def __init__(self, content: Content, exchange: Exchange, namespace: str, lease: str) -> None:
        self.namespace = namespace
        self.lease = lease
        self._content = content
        self._exchange = exchange

    def path(self, digest: str) -> str:
        """The file of a blob that this namespace has. Raises NotFound."""
        self._content.info(self.namespace, digest)
        return self._content.path(digest)

    def has(self, digest: str) -> bool:
        """Whether this namespace has it."""
        with contextlib.suppress(HakoError):
            self._content.info(self.namespace, digest)
            return True
        return False

    def size(self, digest: str) -> int:
        """In bytes. Raises NotFound."""
        return self._content.info(self.namespace, digest).size

    def document(self, digest: str) -> Any:
        """Read a JSON document. Raises NotFound, InvalidArgument."""
        return parse(self.whole(digest), digest)

    def whole(self, digest: str) -> bytes:
        """The bytes of a document. Raises NotFound, InvalidArgument."""
        if self.size(digest) > LARGEST_DOCUMENT:
            raise InvalidArgument(f"content {digest} is too large for a document of an image")
        try:
            with open(self.path(digest), "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise NotFound(f"content {digest}: its file is missing: not found") from None

    def labels(self, digest: str) -> Mapping[str, str]:
        """Of a blob. Raises NotFound."""
        return self._content.info(self.namespace, digest).labels

    async def read(self, digest: str, offset: int = 0) -> AsyncIterator[bytes]:
        """Its bytes from `offset` on."""
        fd = self._content.open(self.namespace, digest, offset)
        try:
            while data := await asyncio.to_thread(os.read, fd, _CHUNK):
                yield data
        finally:
            os.close(fd)

    async def put(
        self, parts: AsyncIterator[bytes], labels: Mapping[str, str] | None = None,
        begun: Callable[[str], None] = lambda _path: None,
    ) -> tuple[str, int]:  # fmt: skip
        """Write a blob; (digest, size). One that is there already gets the labels. Nothing is left of a failure.

        `begun` hears the path of the file, which is empty yet.
        """
        ref = f"{NAMELESS}{secrets.token_hex(8)}"
        writer = self._content.writer(self.namespace, ref, 0, "")
        try:
            begun(self.ingest_path(ref))
            async for part in parts:
                await writer.write(part, writer.offset)
            await writer.commit(0, "", labels or {}, self.lease)
            event = events.ContentCreate(digest=writer.digest, size=writer.offset)
            self._exchange.publish(self.namespace, "/content/create", event)
        except AlreadyExists:
            self.label(writer.digest, labels or {})
        except BaseException:
            writer.close()
            with contextlib.suppress(HakoError):
                self._content.abort(self.namespace, ref)
            raise
        finally:
            writer.close()
        return writer.digest, writer.offset

    def hold(self, digest: str) -> None:
        """Keep it from the collector from now on, also before it is there. Raises InvalidArgument."""
        self._content.hold(self.namespace, digest, self.lease)

    def writer(self, ref: str, total: int, expected: str) -> Writer:
        """For a write in pieces, new or where it was left. Raises AlreadyExists, Unavailable while it is written."""
        return self._content.writer(self.namespace, ref, total, expected)

    def ingest_path(self, ref: str) -> str:
        """The file of a write that is under way. Raises NotFound."""
        return self._content.ingest_path(self.namespace, ref)

    def abort(self, ref: str) -> None:
        """Forget a write. Raises NotFound, Unavailable."""
        self._content.abort(self.namespace, ref)

    async def commit(self, writer: Writer, digest: str, size: int, labels: Mapping[str, str]) -> None:
        """The write is whole: check and publish. Raises AlreadyExists, FailedPrecondition."""
        if writer.offset != size:
            raise FailedPrecondition(f"{digest}: {writer.offset} bytes instead of {size}")
        await writer.commit(size, digest, labels, self.lease)
        self._exchange.publish(
            self.namespace, "/content/create", events.ContentCreate(digest=digest, size=size)
        )

    async def put_document(self, document: Any) -> tuple[str, int]:
        """Write one as JSON."""

        async def once() -> AsyncIterator[bytes]:
            yield json.dumps(document, separators=(",", ":")).encode()

        return await self.put(once())

    def label(self, digest: str, labels: Mapping[str, str]) -> None:
        """Add to a blob's labels."""
        if labels:
            self._content.update(self.namespace, digest, labels, [f"labels.{key}" for key in labels])

    def start(self, digest: str, count: int) -> bytes:
        """Its first bytes."""
        with open(self.path(digest), "rb") as file:
            return file.read(count)


def parse(data: bytes, what: str) -> Any:
    """JSON as Python's values. Raises InvalidArgument."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidArgument(f"{what} is not JSON") from None
