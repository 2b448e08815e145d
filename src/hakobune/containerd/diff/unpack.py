"""Apply a layer to an active snapshot: a process of its own unpacks it straight into the upper directory.

Nothing is mounted for it. The program is cmd/unpack.py, whose output is described there.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from hakobune.errors import Internal, InvalidArgument, ResourceExhausted
from hakobune.spec.mount import Mount

_KINDS = {"invalid": InvalidArgument, "nospace": ResourceExhausted}


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


async def unpack(layer: str, mounts: Sequence[Mount]) -> Applied:
    """Unpack the file `layer`. Raises InvalidArgument, ResourceExhausted, Internal; cancelled, it is killed."""
    target, lowers = target_of(mounts)
    arguments = ["-I", "-m", "hakobune.cmd.unpack", "--target", target]
    for lower in lowers:
        arguments += ["--lower", lower]
    with open(layer, "rb") as source:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdin=source, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    try:
        out, err = await process.communicate()
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode:
        raise _failure(err, process.returncode)
    answer = json.loads(out)
    return Applied(answer["digest"], answer["size"])


def _failure(err: bytes, status: int) -> InvalidArgument | ResourceExhausted | Internal:
    last = err.decode("utf-8", "replace").strip().rpartition("\n")[2]
    try:
        said = json.loads(last)
        return _KINDS.get(said["kind"], Internal)(f"apply layer: {said['error']}")  # type: ignore[return-value]
    except (ValueError, KeyError, TypeError):
        return Internal(f"apply layer: the unpacker ended with status {status}: {last}")
