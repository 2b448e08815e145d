"""Answers of the API: a line of the list, everything about one image, its history."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from hakobune.engine.images.model import Image, created_of
from hakobune.engine.schema.times import NEVER, rfc3339
from hakobune.spec import reference

_SECOND = 1_000_000_000


def digests(image: Image) -> list[str]:
    """`alpine@sha256:…`, of the manifest, for each repository that the image has a name in."""
    names = (*image.names, *image.digested)
    return [f"{repository}@{image.content.target.digest}" for repository in _repositories(names)]


@lru_cache(maxsize=4096)  # each list asks for all of theirs again
def _repositories(names: tuple[str, ...]) -> list[str]:
    return sorted({reference.parse(name).familiar_name for name in names})


def summary(image: Image, containers: int = -1, shared: int = -1) -> dict[str, Any]:
    """One line of the list; -1 for what was not counted."""
    return {
        "Containers": containers,
        "Created": image.created // _SECOND,
        "Id": image.id,
        "Labels": image.content.labels or None,
        "ParentId": "",
        "RepoDigests": digests(image),
        "RepoTags": list(image.names),
        "SharedSize": shared,
        "Size": image.size,
    }


def inspect(image: Image, version: tuple[int, int]) -> dict[str, Any]:
    """Everything about an image, in the shape that an API version wants."""
    config = image.config
    history = config.get("history") or [{}]
    found = {
        "Id": image.id,
        "RepoTags": list(image.names),
        "RepoDigests": digests(image),
        "Parent": "",
        "Comment": history[-1].get("comment", ""),
        "Created": rfc3339(image.created),
        "DockerVersion": "",
        "Author": config.get("author", ""),
        "Config": _settings(config.get("config") or {}),
        "Architecture": config.get("architecture", ""),
        "Os": config.get("os", ""),
        "Size": image.size,
        "GraphDriver": {"Data": None, "Name": "overlayfs"},
        "RootFS": {"Type": "layers", "Layers": list(config["rootfs"]["diff_ids"])},
        "Metadata": {"LastTagTime": rfc3339(image.updated) if image.names else NEVER},
        "Descriptor": {
            "mediaType": image.content.target.media_type,
            "digest": image.content.target.digest,
            "size": image.content.target.size,
        },
    }
    if config.get("variant"):
        found["Variant"] = config["variant"]
    if version < (1, 44):
        found["VirtualSize"] = image.size
    return found


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration for containers; what clients look for is there even when it is empty."""
    empty = {"User": "", "Env": None, "Cmd": None, "Volumes": None, "WorkingDir": "", "Entrypoint": None,
             "OnBuild": None, "Labels": None}  # fmt: skip
    return {**empty, **{name: value for name, value in config.items() if value not in ({}, [])}}


def history(image: Image) -> list[dict[str, Any]]:
    """The steps by which it was made, newest first."""
    sizes = list(image.content.sizes)
    entries = list(image.config.get("history") or [{} for _ in sizes])
    lines = []
    for entry in entries:
        size = 0 if entry.get("empty_layer") or not sizes else sizes.pop(0)
        lines.append(_step(entry, size))
    lines.reverse()
    lines[0] |= {"Id": image.id, "Tags": list(image.names) or None}
    return lines


def _step(entry: dict[str, Any], size: int) -> dict[str, Any]:
    return {
        "Comment": entry.get("comment", ""),
        "Created": created_of(entry) // _SECOND,
        "CreatedBy": entry.get("created_by", ""),
        "Id": "<missing>",
        "Size": size,
        "Tags": None,
    }
