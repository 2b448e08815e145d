"""Whether a directory is what a layer's archive unpacks to: `apply` told backwards, for a store that somebody had his hands in.

Compared are names, kinds, modes, owners, sizes, contents, link targets, devices and file capabilities; not the times
of directories. Only an overlay's directories: whiteouts there are 0:0 character devices. Imports: tar, walk, pack.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from hakobune.layers import decompress, tar, walk
from hakobune.layers.apply import clean
from hakobune.layers.pack import is_opaque, is_whiteout

_WHITEOUT, _OPAQUE, _META = ".wh.", ".wh..wh..opq", ".wh..wh."
_CAPABILITY = "security.capability"
MOST = 20  # differences that are told


@dataclass(frozen=True, slots=True)
class _Fact:
    """What a name is; `data` is the digest of a file's content, or a link's target."""

    kind: str
    mode: int = 0
    owner: tuple[int, int] = (0, 0)
    data: bytes = b""
    device: tuple[int, int] = (0, 0)
    capability: bytes = b""


_HIDDEN = _Fact("whiteout")


def differences(source: BinaryIO, directory: int) -> Iterator[str]:
    """One sentence for each name that is not as the archive has it. Raises InvalidArgument for what is no archive."""
    expected, opaque = _expected(source)
    implied = {parent for name in expected for parent in _parents(name)} | {
        parent for name in opaque for parent in (name, *_parents(name))
    }
    seen = set()
    for found in walk.walk(directory):
        seen.add(found.path)
        wanted = expected.get(found.path)
        if wanted is None:
            if not (found.path in implied and stat.S_ISDIR(found.status.st_mode)):
                yield f"/{found.path} is not in the layer"
        elif why := _difference(found, wanted):
            yield f"/{found.path}: {why}"
        if found.path in opaque and not is_opaque(found):
            yield f"/{found.path} does not hide what is below any more"
    for name in expected:
        if name not in seen and name not in implied:
            yield f"/{name} is missing"


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition("/")[0]:
        yield name


def _expected(source: BinaryIO) -> tuple[dict[str, _Fact], set[str]]:
    """(what is to be there by name, directories that hide what is below); later members win."""
    found: dict[str, _Fact] = {}
    opaque: set[str] = set()
    reader = tar.Reader(decompress.chunks(source))
    for entry in reader:
        path = clean(entry.name)
        directory, _, name = path.rpartition("/")
        if name == _OPAQUE:
            opaque.add(directory)
        elif name.startswith(_META) or not path:
            continue
        elif name.startswith(_WHITEOUT):
            hidden = f"{directory}/{name.removeprefix(_WHITEOUT)}".lstrip("/")
            found.setdefault(hidden, _HIDDEN)
        else:
            _add(found, path, _fact(entry, reader.data(), found))
    return found, opaque


def _add(found: dict[str, _Fact], path: str, fact: _Fact) -> None:
    """What was in a directory that is replaced by another kind of file goes with it."""
    before = found.get(path)
    if before is not None and before.kind == tar.DIRECTORY != fact.kind:
        for name in [name for name in found if name.startswith(f"{path}/")]:
            del found[name]
    found[path] = fact


def _fact(entry: tar.Entry, data: Iterator[bytes], found: dict[str, _Fact]) -> _Fact:
    if entry.kind == tar.HARD_LINK:
        return found.get(clean(entry.link), _Fact("unknown"))
    owner, capability = (entry.uid, entry.gid), entry.xattrs.get(_CAPABILITY, b"")
    if entry.kind == tar.REGULAR:
        return _Fact(tar.REGULAR, entry.mode, owner, _digest(_whole(entry, data)), capability=capability)
    if entry.kind == tar.SYMLINK:
        return _Fact(tar.SYMLINK, 0, owner, os.fsencode(entry.link))
    device = (entry.major, entry.minor) if entry.kind in (tar.CHARACTER, tar.BLOCK_DEVICE) else (0, 0)
    return _Fact(entry.kind, entry.mode, owner, device=device)


def _whole(entry: tar.Entry, data: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes of a file, those of its holes too."""
    if entry.segments is None:
        yield from data
        return
    rest, at = b"".join(data), 0
    for offset, length in entry.segments:
        yield bytes(offset - at)
        yield rest[:length]
        rest, at = rest[length:], offset + length
    yield bytes(entry.size - at)


def _digest(parts: Iterator[bytes]) -> bytes:
    made = hashlib.sha256()
    for part in parts:
        made.update(part)
    return made.digest()


def _difference(found: walk.Found, wanted: _Fact) -> str:
    """Why the file is not what is wanted; "" when it is."""
    entry = walk.entry(found, "")
    if is_whiteout(found.status) or wanted is _HIDDEN:
        return "" if is_whiteout(found.status) and wanted is _HIDDEN else "removal and file are mixed up"
    if entry is None or entry.kind != wanted.kind:
        return "" if wanted.kind == "unknown" else "is another kind of file"
    if (entry.uid, entry.gid) != wanted.owner:
        return f"belongs to {entry.uid}:{entry.gid}, not to {wanted.owner[0]}:{wanted.owner[1]}"
    if entry.kind == tar.SYMLINK:
        return "" if os.fsencode(entry.link) == wanted.data else "leads elsewhere"
    if entry.mode != wanted.mode:
        return f"has mode {entry.mode:o}, not {wanted.mode:o}"
    if (entry.major, entry.minor) != wanted.device:
        return "is another device"
    if entry.kind == tar.REGULAR and _digest(walk.content(found)) != wanted.data:
        return "has another content"
    return "" if entry.xattrs.get(_CAPABILITY, b"") == wanted.capability else "has other capabilities"
