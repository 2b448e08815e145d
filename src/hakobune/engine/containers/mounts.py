"""What a create request says about volumes and directories of the host -> mount points of a container.

Three spellings meet here: Binds (`source:target[:options]`), Mounts (objects) and Volumes (targets of
anonymous volumes, also the image's). Imports: model, errors.
"""

from __future__ import annotations

import os
import posixpath
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hakobune.engine.containers.model import MountPoint
from hakobune.errors import InvalidArgument

PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_KINDS = (("ro", "rw"), ("z", "Z"), ("copy", "nocopy"), PROPAGATIONS)
_WORDS = frozenset(
    {"ro", "rw", "z", "Z", "nocopy", "copy", "consistent", "cached", "delegated", *PROPAGATIONS}
)


def parse_bind(text: str) -> MountPoint:
    """`source:target[:options]`, or a target alone. Raises InvalidArgument with Docker's words."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        return _anonymous(parts[0], text)
    source, target = parts[0], _target(parts[1], text)
    words = parts[2].split(",") if len(parts) == 3 else []
    for word in words:
        if word not in _WORDS or _clashes(words):
            raise InvalidArgument(f"invalid volume specification: '{text}': invalid mode: {parts[2]}")
    point = MountPoint(
        type="bind" if source.startswith("/") else "volume",
        source=posixpath.normpath(source) if source.startswith("/") else "",
        target=target,
        name="" if source.startswith("/") else source,
        read_only="ro" in words,
        mode=",".join(words),
        propagation=next((word for word in words if word in PROPAGATIONS), ""),
        copy="nocopy" not in words,
    )
    if (point.type == "bind" and "nocopy" in words) or (point.type == "volume" and point.propagation):
        raise InvalidArgument(f"invalid volume specification: '{text}': invalid mode: {parts[2]}")
    return point


def _clashes(words: Sequence[str]) -> bool:
    """Whether two of the words say something about one thing."""
    return any(sum(words.count(word) for word in kind) > 1 for kind in _KINDS)


def _target(path: str, text: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(
            f"invalid volume specification: '{text}': invalid mount config for type \"bind\": "
            f"invalid mount path: '{path}' mount path must be absolute"
        )
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if clean == "/":
        raise InvalidArgument(f"invalid volume specification: '{text}': destination can't be '/'")
    return clean


def _anonymous(target: str, text: str) -> MountPoint:
    return MountPoint("volume", "", _target(target, text), secrets.token_hex(32), anonymous=True)


def parse_mount(document: Mapping[str, Any]) -> MountPoint:
    """One entry of HostConfig.Mounts. Raises InvalidArgument."""
    kind = document.get("Type") or "volume"
    target = str(document.get("Target") or "")
    if not target:
        raise InvalidArgument(f'invalid mount config for type "{kind}": field Target must not be empty')
    if not target.startswith("/"):
        raise InvalidArgument(
            f"invalid mount config for type \"{kind}\": invalid mount path: '{target}' mount path must be absolute"
        )
    maker = {"bind": _bind_mount, "volume": _volume_mount, "tmpfs": _tmpfs_mount}.get(kind)
    if maker is None:
        raise InvalidArgument(f"mount type unknown: {json_word(kind)}")
    point = maker(document, _target(target, target))
    return replace(point, read_only=bool(document.get("ReadOnly")))


def json_word(word: object) -> str:
    """A value in quotes."""
    return f'"{word}"'


def _bind_mount(document: Mapping[str, Any], target: str) -> MountPoint:
    source = str(document.get("Source") or "")
    options = document.get("BindOptions") or {}
    if not source.startswith("/"):
        what = (
            "field Source must not be empty"
            if not source
            else f"invalid mount path: '{source}' mount path must be absolute"
        )
        raise InvalidArgument(f'invalid mount config for type "bind": {what}')
    if not os.path.lexists(source):
        if not options.get("CreateMountpoint"):
            raise InvalidArgument(
                f'invalid mount config for type "bind": bind source path does not exist: {source}'
            )
        os.makedirs(source, mode=0o755, exist_ok=True)
    propagation = str(options.get("Propagation") or "")
    if propagation and propagation not in PROPAGATIONS:
        raise InvalidArgument(f'invalid mount config for type "bind": invalid propagation: {propagation}')
    return MountPoint("bind", source, target, propagation=propagation)


def _volume_mount(document: Mapping[str, Any], target: str) -> MountPoint:
    options = document.get("VolumeOptions") or {}
    name = str(document.get("Source") or "")
    copy = not options.get("NoCopy")
    return MountPoint("volume", "", target, name or secrets.token_hex(32), anonymous=not name, copy=copy)


def _tmpfs_mount(document: Mapping[str, Any], target: str) -> MountPoint:
    options = document.get("TmpfsOptions") or {}
    words = []
    if size := options.get("SizeBytes"):
        words.append(f"size={int(size)}")
    if (mode := options.get("Mode")) is not None:
        words.append(f"mode={int(mode):o}")
    if document.get("Source"):
        raise InvalidArgument('invalid mount config for type "tmpfs": field Source must not be specified')
    return MountPoint("tmpfs", "", target, options=tuple(words))


def parse_all(
    config: Mapping[str, Any], host: Mapping[str, Any], others: Callable[[str], Iterable[MountPoint]]
) -> tuple[MountPoint, ...]:
    """All mount points of a request, one for each target. `others(container)` are another container's.

    What the client names wins over --volumes-from, and both over the image's volumes. Raises
    InvalidArgument, also for a target that is named twice.
    """
    found: dict[str, MountPoint] = {}
    for text in host["VolumesFrom"] or ():
        for point in _borrowed(text, others):
            found[point.target] = point
    named: dict[str, MountPoint] = {}
    for point in [*map(parse_bind, host["Binds"] or ()), *map(parse_mount, host["Mounts"] or ())]:
        if point.target in named:
            raise InvalidArgument(f"Duplicate mount point: {point.target}")
        named[point.target] = point
    found |= named
    tmpfs = {posixpath.normpath(target) for target in host["Tmpfs"] or ()}
    if twice := tmpfs & named.keys():
        raise InvalidArgument(f"Duplicate mount point: {min(twice)}")
    for target in config["Volumes"] or ():
        clean = _target(target, target)
        if clean not in found and clean not in tmpfs:
            found[clean] = _anonymous(clean, target)
    return tuple(found.values())


def _borrowed(text: str, others: Callable[[str], Iterable[MountPoint]]) -> Iterable[MountPoint]:
    reference, _, mode = text.partition(":")
    if mode not in ("", "ro", "rw"):
        raise InvalidArgument(f"invalid volumes-from specification: '{text}': invalid mode: {mode}")
    for point in others(reference):
        yield replace(point, read_only=point.read_only or mode == "ro", anonymous=False)
