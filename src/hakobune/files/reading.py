"""Files out of a container: a whole root, one file or directory as an archive, and what has changed since its image."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from hakobune.files.paths import Located
from hakobune.layers import walk
from hakobune.layers.members import Out
from hakobune.layers.pack import Packer, is_opaque, is_whiteout, lookup

# What a runtime needs in every root and makes where it is missing: no change by whoever is inside
_LENT_FILES = frozenset({"etc/hostname", "etc/hosts", "etc/resolv.conf", ".dockerenv"})
_LENT_DIRECTORIES = frozenset(
    {"dev", "dev/pts", "dev/shm", "dev/mqueue", "proc", "sys", "sys/fs", "sys/fs/cgroup"}
)
CHANGED, ADDED, DELETED = 0, 1, 2  # the API's Kind


def pack_root(root: int, out: Out) -> None:
    """Everything, named from the root without a slash. Raises OSError."""
    top = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    packer = Packer(out)
    for found in walk.walk(top):
        packer.add(found, found.path)
    packer.close()


def pack_path(located: Located, out: Out) -> None:
    """One file, or a directory with all that is below it; names begin with `located.base`. Raises OSError."""
    packer = Packer(out)
    packer.add(located.found, located.base)
    if stat.S_ISDIR(located.found.status.st_mode):
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        top = os.open(located.found.name, flags, dir_fd=located.found.parent)
        prefix = located.base if located.base == "/" else f"{located.base}/"
        for found in walk.walk(top):
            packer.add(found, prefix + found.path)
    packer.close()


def changes(upper: int, lower: int) -> Iterator[tuple[str, int]]:
    """(path, kind) of every change, parents before what is in them. `lower` is the image's root, -1 for none.

    Directories on the way to a change are changed, too, as Docker counts. Raises OSError.
    """
    waiting: list[tuple[str, int]] = []
    for found in walk.walk(upper):
        path, kind = found.path, _kind(found, lower)
        while waiting and not path.startswith(waiting[-1][0] + "/"):
            waiting.pop()
        if _is_lent(found, kind):
            continue
        if kind == CHANGED and path in ("etc", "dev", "proc", "sys"):
            waiting.append((path, kind))  # perhaps only for what is lent below
            continue
        for name, how in waiting:
            yield f"/{name}", how
        waiting.clear()
        yield f"/{path}", kind
        if kind == CHANGED and stat.S_ISDIR(found.status.st_mode) and is_opaque(found):
            yield from _hidden(upper, lower, path)


def _kind(found: walk.Found, lower: int) -> int:
    if is_whiteout(found.status):
        return DELETED
    return CHANGED if _is_there(lower, found.path) else ADDED


def _is_there(root: int, path: str) -> bool:
    found = lookup(root, path) if root >= 0 else None
    if found is None:
        return False
    os.close(found.parent)
    return True


def _hidden(upper: int, lower: int, path: str) -> Iterator[tuple[str, int]]:
    """What a directory has lost that was removed and made again."""
    found = lookup(lower, path)
    if found is None:
        return
    inside = walk.opened(found.parent, found.name, os.O_RDONLY | os.O_DIRECTORY)
    os.close(found.parent)
    if inside is None:
        return
    try:
        names = sorted(os.listdir(inside))
    finally:
        os.close(inside)
    for name in names:
        if not _is_there(upper, f"{path}/{name}"):
            yield f"/{path}/{name}", DELETED


def _is_lent(found: walk.Found, kind: int) -> bool:
    if kind != ADDED:
        return False
    if stat.S_ISDIR(found.status.st_mode):
        return found.path in _LENT_DIRECTORIES
    return found.path in _LENT_FILES and found.status.st_size == 0
