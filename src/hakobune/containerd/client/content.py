"""Client of the content service: blobs named by digest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask

from hakobune.containerd.client.connection import Connection, nanoseconds
from hakobune.errors import AlreadyExists, from_code
from hakobune.proto import content_pb2 as pb
from hakobune.transport.grpc_runtime import aio, error_of

_SERVICE = "containerd.services.content.v1.Content"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Info:
    """One blob; `created_at` in nanoseconds since the epoch, `size` in bytes."""

    digest: str
    size: int
    created_at: int
    labels: Mapping[str, str]


class Content:
    """Every method may raise the HakoError that the manager sends; NotFound for an unknown digest."""

    def __init__(self, connection: Connection) -> None:
        self._info = connection.unary(_SERVICE, "Info", pb.InfoResponse.FromString)
        self._update = connection.unary(_SERVICE, "Update", pb.UpdateResponse.FromString)
        self._delete = connection.unary(_SERVICE, "Delete", Empty.FromString)
        self._abort = connection.unary(_SERVICE, "Abort", Empty.FromString)
        self._list = connection.stream(_SERVICE, "List", pb.ListContentResponse.FromString)
        self._read = connection.stream(_SERVICE, "Read", pb.ReadContentResponse.FromString)
        self._write = connection.duplex(_SERVICE, "Write", pb.WriteContentResponse.FromString)

    async def info(self, digest: str) -> Info:
        """Size and labels."""
        return _from((await self._info(pb.InfoRequest(digest=digest))).info)

    async def list(self, *filters: str) -> list[Info]:
        """All blobs of the namespace."""
        request = pb.ListContentRequest(filters=filters)
        return [_from(info) async for part in self._list(request) for info in part.info]

    async def update(self, digest: str, labels: Mapping[str, str]) -> Info:
        """Put all labels in the place of the old ones."""
        info = pb.Info(digest=digest, labels=labels)
        response = await self._update(pb.UpdateRequest(info=info, update_mask=FieldMask(paths=["labels"])))
        return _from(response.info)

    async def delete(self, digest: str) -> None:
        """Forget the blob in this namespace."""
        await self._delete(pb.DeleteContentRequest(digest=digest))

    async def abort(self, ref: str) -> None:
        """Forget an unfinished write."""
        await self._abort(pb.AbortRequest(ref=ref))

    async def read(self, digest: str) -> AsyncIterator[bytes]:
        """The blob in parts."""
        async for part in self._read(pb.ReadContentRequest(digest=digest)):
            yield part.data

    async def read_all(self, digest: str) -> bytes:
        """The whole blob."""
        return b"".join([part async for part in self.read(digest)])

    async def write(
        self,
        ref: str,
        parts: AsyncIterator[bytes] | bytes,
        *,
        digest: str = "",
        size: int = 0,
        labels: Mapping[str, str] | None = None,
    ) -> tuple[str, int]:
        """Store a blob from its start; (digest, size). A blob that is there already is a success.

        `ref` names the write: one at a time for each ref. Raises InvalidArgument or FailedPrecondition when
        `digest` or `size` are given and differ, Unavailable while another write has the ref.
        """
        call = self._write()
        offset = 0
        try:
            found = await self._begin(call, ref, digest, size)
            async for part in _parts(parts):
                request = pb.WriteContentRequest(action=pb.WRITE, ref=ref, offset=offset, data=part)
                await self._step(call, request)
                offset += len(part)
            found = await self._step(call, pb.WriteContentRequest(
                action=pb.COMMIT, ref=ref, offset=offset, total=size or offset, expected=digest, labels=labels,
            ))  # fmt: skip
            return found.digest, offset
        except AlreadyExists as err:
            known = digest or (str(err).partition(":")[0] and _digest_in(str(err)))
            if not known:
                raise
            return known, (await self.info(known)).size
        finally:
            call.cancel()

    async def _begin(self, call: Any, ref: str, digest: str, size: int) -> pb.WriteContentResponse:
        """Take the ref; what an earlier, cut write left is dropped."""
        request = pb.WriteContentRequest(action=pb.STAT, ref=ref, total=size, expected=digest)
        found = await self._step(call, request)
        if found.offset:
            found = await self._step(
                call, pb.WriteContentRequest(action=pb.WRITE, ref=ref, offset=0, data=b"")
            )
        return found

    async def _step(self, call: Any, request: pb.WriteContentRequest) -> pb.WriteContentResponse:
        try:
            await call.write(request)
            response = await call.read()
        except aio.AioRpcError as failure:
            raise error_of(failure) from None
        except asyncio.InvalidStateError:  # the manager has ended the call already
            response = None
        if isinstance(response, pb.WriteContentResponse):
            return response
        status = await call.code()
        raise from_code(status.value[0], await call.details() or "the manager has ended the write")


def _digest_in(sentence: str) -> str:
    """The digest that an "already exists" sentence names, or ""."""
    for word in sentence.replace('"', " ").split():
        word = word.rstrip(":,")
        if word.startswith("sha256:") and len(word) == 71:
            return word
    return ""


async def _parts(parts: AsyncIterator[bytes] | bytes) -> AsyncIterator[bytes]:
    if isinstance(parts, bytes):
        for at in range(0, len(parts), _CHUNK):
            yield parts[at : at + _CHUNK]
        return
    async for part in parts:
        for at in range(0, len(part), _CHUNK):
            yield part[at : at + _CHUNK]


def _from(info: pb.Info) -> Info:
    return Info(info.digest, info.size, nanoseconds(info.created_at), dict(info.labels))
