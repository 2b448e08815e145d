"""What every content store has to do, as a suite: run on ours and on the real containerd's, over the same gRPC service.

`checks()` gives (name, coroutine function of a client). Source: containerd, core/content/content.go (the interfaces' comments),
api/services/content/v1/content.proto. Imports: containerd.client.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Awaitable, Callable
from typing import Any

from hakobune.containerd.client import Client
from hakobune.errors import FailedPrecondition, HakoError, NotFound, OutOfRange, Unavailable
from hakobune.proto import content_pb2 as pb
from hakobune.transport.grpc_runtime import aio

KEEP = {"containerd.io/gc.root": "2026-01-01T00:00:00Z"}


def digest_of(data: bytes) -> str:
    """As blobs are named."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


async def _step(call: Any, **request: Any) -> pb.WriteContentResponse:
    await call.write(pb.WriteContentRequest(**request))
    answer: pb.WriteContentResponse = await call.read()
    return answer


async def _whole(client: Client) -> None:
    data = os.urandom(2_500_000)
    assert await client.content.write("whole", data, digest=digest_of(data), size=len(data), labels=KEEP) == (
        digest_of(data), len(data),
    )  # fmt: skip
    assert await client.content.read_all(digest_of(data)) == data
    found = await client.content.info(digest_of(data))
    assert (found.size, dict(found.labels)) == (len(data), KEEP)
    assert digest_of(data) in [one.digest for one in await client.content.list()]
    await client.content.delete(digest_of(data))
    await _refused(client.content.info(digest_of(data)), NotFound)
    await _refused(client.content.read_all(digest_of(data)), NotFound)


async def _empty(client: Client) -> None:
    assert await client.content.write("empty", b"", labels=KEEP) == (digest_of(b""), 0)
    assert await client.content.read_all(digest_of(b"")) == b""


async def _is_there_already(client: Client) -> None:
    await client.content.write("first", b"again", labels=KEEP)
    assert (
        await _code(client, action=pb.STAT, ref="second", total=5, expected=digest_of(b"again"))
        == "ALREADY_EXISTS"
    )


async def _code(client: Client, **request: Any) -> str:
    """The name of the status with which a write ends that consists of this request."""
    call = client.content._write()
    await call.write(pb.WriteContentRequest(**request))
    await call.done_writing()
    with contextlib.suppress(aio.AioRpcError):
        await call.read()
    code = await call.code()
    return str(code.name)


async def _a_wrong_digest(client: Client) -> None:
    await _refused(client.content.write("wrong", b"abc", digest=digest_of(b"abd")), FailedPrecondition)
    await _refused(client.content.info(digest_of(b"abc")), NotFound)
    await _refused(client.content.info(digest_of(b"abd")), NotFound)


async def _a_wrong_size(client: Client) -> None:
    await _refused(client.content.write("size", b"abcde", size=4), FailedPrecondition)
    await _refused(client.content.info(digest_of(b"abcde")), NotFound)


async def _goes_on_later(client: Client) -> None:
    """One writer for a ref; what was written is there for the next one."""
    call = client.content._write()
    assert (await _step(call, action=pb.WRITE, ref="later", data=b"hello ")).offset == 6
    await _refused(client.content.write("later", b"x"), Unavailable)
    call.cancel()
    await asyncio.sleep(0.2)
    call = client.content._write()
    assert (await _step(call, action=pb.STAT, ref="later")).offset == 6
    done = await _step(call, action=pb.COMMIT, ref="later", offset=6, data=b"world", labels=KEEP)
    assert done.digest == digest_of(b"hello world")
    assert await client.content.read_all(done.digest) == b"hello world"


async def _begins_again(client: Client) -> None:
    """Offset 0 drops what was there."""
    call = client.content._write()
    await _step(call, action=pb.WRITE, ref="again", data=b"wrong start")
    await _step(call, action=pb.WRITE, ref="again", offset=0, data=b"right")
    done = await _step(call, action=pb.COMMIT, ref="again", offset=5, labels=KEEP)
    assert done.digest == digest_of(b"right")


async def _a_hole_is_refused(client: Client) -> None:
    call = client.content._write()
    await _step(call, action=pb.WRITE, ref="hole", data=b"12345")
    call.cancel()
    await asyncio.sleep(0.2)
    assert await _code(client, action=pb.WRITE, ref="hole", offset=9, data=b"x") == "OUT_OF_RANGE"
    await asyncio.sleep(0.2)
    await client.content.abort("hole")


async def _aborted(client: Client) -> None:
    call = client.content._write()
    await _step(call, action=pb.WRITE, ref="aborted", data=b"some")
    call.cancel()
    await asyncio.sleep(0.2)
    await client.content.abort("aborted")
    call = client.content._write()
    assert (await _step(call, action=pb.STAT, ref="aborted")).offset == 0
    call.cancel()
    await asyncio.sleep(0.2)
    await client.content.abort("aborted")
    await _refused(client.content.abort("aborted"), NotFound)


async def _a_range(client: Client) -> None:
    data = bytes(range(256)) * 1000
    digest, _size = await client.content.write("range", data, labels=KEEP)
    for offset, size in ((0, 10), (255_990, 0), (1000, 5000)):
        request = pb.ReadContentRequest(digest=digest, offset=offset, size=size)
        found = b"".join([part.data async for part in client.content._read(request)])
        assert found == data[offset : offset + size if size else None]
    beyond = pb.ReadContentRequest(digest=digest, offset=len(data) + 1)
    await _refused(_all(client.content._read(beyond)), OutOfRange)


async def _labels(client: Client) -> None:
    digest, _size = await client.content.write("labels", b"labelled", labels={**KEEP, "a": "1", "b": "2"})
    changed = await client.content.update(digest, {**KEEP, "a": "9"})
    assert dict(changed.labels) == {**KEEP, "a": "9"}
    assert [one.digest for one in await client.content.list('labels."a"==9')] == [digest]
    assert [one.digest for one in await client.content.list(f"digest=={digest}")] == [digest]
    assert await client.content.list('labels."a"==1') == []


async def _namespaces(client: Client) -> None:
    """A blob of one namespace is not there for another, and is found when that writes it."""
    digest, _size = await client.content.write("mine", b"of one namespace", labels=KEEP)
    other = Client(client.address, "somebody-else")
    try:
        await other.ready(10)
        await _refused(other.content.info(digest), NotFound)
        assert (await other.content.write("mine", b"of one namespace", labels=KEEP))[0] == digest
        await client.content.delete(digest)
        assert await other.content.read_all(digest) == b"of one namespace"
        await other.content.delete(digest)
    finally:
        await other.close()


async def _all(parts: Any) -> list[Any]:
    return [part async for part in parts]


async def _refused(work: Awaitable[object], kind: type[HakoError]) -> None:
    try:
        await work
    except kind:
        return
    raise AssertionError(f"it was not refused with {kind.__name__}")


def checks() -> dict[str, Callable[[Client], Awaitable[None]]]:
    """By name."""
    every = (
        _whole, _empty, _is_there_already, _a_wrong_digest, _a_wrong_size, _goes_on_later, _begins_again,
        _a_hole_is_refused, _aborted, _a_range, _labels, _namespaces,
    )  # fmt: skip
    return {one.__name__.lstrip("_"): one for one in every}
