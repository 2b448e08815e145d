"""Apply a layer to an active snapshot: a process of its own unpacks it straight into the upper directory.

Nothing is mounted for it. The program is cmd/unpack.py, whose output is described there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from hakobune.errors import Internal, InvalidArgument, ResourceExhausted
from hakobune.spec.mount import Mount
from hakobune.transport import apart

_ROOM_SECONDS = 0.01
# deflate cannot do better than this; other formats can, on what is no file system
_MOST_TIMES, _MOST_MORE = 1032, 1 << 30
Below = Awaitable[Sequence[str]]
_KINDS = {"invalid": InvalidArgument, "nospace": ResourceExhausted}


class Growing(Protocol):
    """A file that is being written: see transfer/growing.py."""

    @property
    def whole(self) -> bool: ...
    @property
    def over(self) -> bool: ...
    async def further(self, than: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Applied:
    """Digest and size of the uncompressed tar stream."""

    digest: str
    size: int


def target_of(mounts: Sequence[Mount]) -> tuple[str, tuple[str, ...]]:
    """(directory to write to, layers below, top first) of a snapshot's mounts. Raises InvalidArgument."""
    if len(mounts) != 1:
        raise InvalidArgument(f"a layer is applied to one mount, not to {len(mounts)}")
    mount = mounts[0]
    options = dict(option.partition("=")[::2] for option in mount.options)
    if mount.type == "overlay" and "upperdir" in options:
        return options["upperdir"], tuple(filter(None, options.get("lowerdir", "").split(":")))
    if mount.type == "bind" and "ro" not in mount.options:
        return mount.source, ()
    raise InvalidArgument(f"a layer cannot be applied to a {mount.type} mount that is not writable")


def bound(size: int) -> int:
    """Bytes that a layer of `size` bytes may unpack to: a bomb ends here, and not when the disk is full."""
    return size * _MOST_TIMES + _MOST_MORE


async def unpack(layer: str, mounts: Sequence[Mount], below: Below | None = None) -> Applied:
    """Unpack the file `layer`. Raises InvalidArgument, ResourceExhausted, Internal; cancelled, it is killed.

    The layers below are those of the mounts, or `below` tells their directories, top first, when it has them.
    """
    with open(layer, "rb") as source:
        return await _applied(source, mounts, below, bound(os.fstat(source.fileno()).st_size))


async def unpack_while_it_comes(
    source: BinaryIO, growing: Growing, size: int, mounts: Sequence[Mount], below: Below | None = None
) -> Applied:
    """As `unpack`, of a file of `size` bytes that is being written; returns when that is what it should be."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        telling = asyncio.ensure_future(_tell(growing, writing))
    except BaseException:
        os.close(writing)
        os.close(reading)
        raise
    try:
        return await _applied(source, mounts, below, bound(size), "--growing", str(reading), keep=(reading,))
    finally:
        os.close(reading)
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _tell(growing: Growing, pipe: int) -> None:
    """Lines with the offset until which the file is good; "end" for all of it, the end without that when it was cut."""
    said = -1
    try:
        while not growing.over:
            said = await growing.further(said)
            if not growing.over:
                with contextlib.suppress(BlockingIOError):  # it has enough to do
                    os.write(pipe, b"%d\n" % said)
        while growing.whole:
            try:
                os.write(pipe, b"end\n")
                return
            except BlockingIOError:
                await asyncio.sleep(_ROOM_SECONDS)
    except BrokenPipeError:
        pass  # it has failed, and says why elsewhere
    finally:
        os.close(pipe)


async def _applied(
    source: BinaryIO,
    mounts: Sequence[Mount],
    below: Below | None,
    most: int,
    *more: str,
    keep: Sequence[int] = (),
) -> Applied:
    target, known = target_of(mounts)
    reading, writing = os.pipe()
    telling = asyncio.ensure_future(_tell_below(known, below, writing))
    try:
        words = ["--target", target, "--max-size", str(most), "--lowers", str(reading), *more]
        status, out, err = await apart.done("unpack", *words, stdin=source, keep=(reading, *keep))
    finally:
        os.close(reading)
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    if status:
        raise _failure(err, status)
    answer = json.loads(out)
    return Applied(answer["digest"], answer["size"])


async def _tell_below(known: Sequence[str], below: Below | None, pipe: int) -> None:
    with open(pipe, "w", encoding="utf-8", errors="surrogateescape") as file:
        listed = known if below is None else await below
        with contextlib.suppress(BrokenPipeError):  # it did not want to know
            file.write("".join(f"{one}\n" for one in (*listed, "end")))
            file.flush()


def _failure(err: bytes, status: int) -> InvalidArgument | ResourceExhausted | Internal:
    last = err.decode("utf-8", "replace").strip().rpartition("\n")[2]
    try:
        said = json.loads(last)
        return _KINDS.get(said["kind"], Internal)(f"apply layer: {said['error']}")  # type: ignore[return-value]
    except (ValueError, KeyError, TypeError):
        return Internal(f"apply layer: the unpacker ended with status {status}: {last}")
