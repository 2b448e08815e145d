"""The difference of two sets of a snapshot's mounts, as a layer in the content store.

Nothing is mounted: a snapshot on top of the other is its own directory, and two plain directories are compared,
by a process of its own (cmd/pack.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence

from hakobune.containerd.content.store import Content, Writer
from hakobune.errors import AlreadyExists, HakoError, Internal, InvalidArgument, Unimplemented
from hakobune.spec.mount import Mount
from hakobune.transport import apart

_CHUNK = 1 << 20
UNCOMPRESSED = "containerd.io/uncompressed"


def directories(mounts: Sequence[Mount]) -> tuple[str, ...]:
    """The directories of a snapshot, top first. Raises InvalidArgument for other mounts."""
    if not mounts:
        return ()
    if len(mounts) != 1:
        raise InvalidArgument(f"a snapshot is compared by one mount, not by {len(mounts)}")
    mount = mounts[0]
    options = dict(option.partition("=")[::2] for option in mount.options)
    if mount.type == "overlay":
        upper = (options["upperdir"],) if options.get("upperdir") else ()
        return (*upper, *filter(None, options.get("lowerdir", "").split(":")))
    if mount.type == "bind":
        return (mount.source,)
    raise InvalidArgument(f"a {mount.type} mount cannot be compared")


def arguments(left: Sequence[Mount], right: Sequence[Mount]) -> list[str]:
    """For cmd/pack.py. Raises InvalidArgument, Unimplemented."""
    old, new = directories(left), directories(right)
    if not new:
        raise InvalidArgument("there is nothing to compare with")
    if new == old:
        return []
    if new[1:] == old:
        return ["--upper", new[0]]
    if len(old) == len(new) == 1:
        return ["--old", old[0], "--new", new[0]]
    raise Unimplemented("diffs are served between a snapshot and its parent, and between plain directories")


async def pack(
    content: Content, namespace: str, ref: str, words: Sequence[str], *, compressed: bool,
    labels: Mapping[str, str], lease: str,
) -> tuple[str, int]:  # fmt: skip
    """(digest, size) of the layer. Raises Internal, ResourceExhausted; then, and cancelled, nothing is left."""
    writer = content.writer(namespace, ref, 0, "")
    diff = ""
    try:
        if writer.offset:
            await writer.write(b"", 0)  # what an earlier try left
        diff = await _run(words, compressed=compressed, into=writer)
        await writer.commit(0, "", {UNCOMPRESSED: diff, **labels}, lease)
    except AlreadyExists:
        content.update(namespace, writer.digest, {UNCOMPRESSED: diff, **labels}, [])
    except BaseException:
        writer.close()
        with contextlib.suppress(HakoError):
            content.abort(namespace, ref)
        raise
    finally:
        writer.close()
    return writer.digest, writer.offset


async def _run(words: Sequence[str], *, compressed: bool, into: Writer) -> str:
    """The digest of the uncompressed layer; the program does not outlive this."""
    async with apart.program("pack", *words, *(["--gzip"] if compressed else [])) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        saying = asyncio.ensure_future(process.stderr.read())
        try:
            while part := await process.stdout.read(_CHUNK):
                await into.write(part, into.offset)
            return _diff(await saying, await process.wait())
        finally:
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)


def _diff(said: bytes, status: int) -> str:
    last = said.decode("utf-8", "replace").strip().rpartition("\n")[2]
    try:
        answer = json.loads(last)
        if not status:
            return str(answer["digest"])
        raise Internal(f"pack layer: {answer['error']}")
    except (ValueError, KeyError, TypeError):
        raise Internal(f"pack layer: the packer ended with status {status}: {last}") from None
