"""An archive into a directory of a container, as `docker cp` sends it.

Every name is walked from the container's root on, so that a link means what it means in there. Imports: layers.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from hakobune.errors import InvalidArgument
from hakobune.files.paths import followed
from hakobune.files.view import Volume, holding
from hakobune.layers import decompress, tar
from hakobune.layers.apply import NONE, Unpacker, clean
from hakobune.oci.rootfs import safepath

_ST_RDONLY = 1  # statvfs(3)


@dataclass(frozen=True, slots=True)
class Manner:
    """`owner`: (user, group) in the place of the archive's. `keep_kinds`: no directory becomes a file, nor a file one."""

    owner: tuple[int, int] | None = None
    keep_kinds: bool = False


def unpack(
    root: int, at: str, path: str, source: BinaryIO, volumes: Sequence[Volume], manner: Manner
) -> None:
    """Into the directory `path` of the root that is mounted at `at`. Raises InvalidArgument, ResourceExhausted,
    OSError; what had come until then stays."""
    target = followed(root, path)
    check(root, target, volumes)
    reader = tar.Reader(decompress.chunks(source))
    umask = os.umask(0)
    try:
        with Unpacker(at, whiteouts=NONE) as unpacker:
            for entry in reader:
                if not (name := clean(entry.name)):
                    continue  # the directory itself, which is there
                if manner.keep_kinds:
                    _check_kind(root, target, name, entry)
                entry.name = f"{target}/{name}"
                if entry.kind == tar.HARD_LINK:
                    entry.link = f"{target}/{clean(entry.link)}"
                if manner.owner is not None:
                    entry.uid, entry.gid = manner.owner
                unpacker.add(entry, reader.data())
            reader.drain()
            unpacker.finish()
    finally:
        os.umask(umask)


def check(root: int, target: str, volumes: Sequence[Volume]) -> None:
    """Raise InvalidArgument unless `target` is a directory that may be written to; OSError when it is not there."""
    fd = safepath.open_path(root, target, os.O_PATH)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise InvalidArgument("extraction point is not a directory")
        if os.fstatvfs(fd).f_flag & _ST_RDONLY:
            inside = next(holding(volumes, target), None)
            what = "mounted volume" if inside else "container rootfs"
            raise InvalidArgument(f"{what} is marked read-only")
    finally:
        os.close(fd)


def _check_kind(root: int, target: str, name: str, entry: tar.Entry) -> None:
    path = f"{target.rstrip('/')}/{name}"
    try:
        fd = safepath.open_path(root, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return
    there = stat.S_ISDIR(os.fstat(fd).st_mode)
    os.close(fd)
    if there and entry.kind != tar.DIRECTORY:
        raise InvalidArgument(f'cannot overwrite directory "{path}" with non-directory "{target}"')
    if not there and entry.kind == tar.DIRECTORY:
        raise InvalidArgument(f'cannot overwrite non-directory "{path}" with directory "{target}"')
