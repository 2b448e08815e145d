"""Documents: an image's configuration as it is stored, and the answers of list, inspect and history."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

from hakobune.engine.images.model import DANGLING, Image
from hakobune.spec import reference

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def architecture() -> str:
    """This machine's, in the words of image-spec."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


def new_config(inner: dict[str, Any], *, created: str, comment: str) -> dict[str, Any]:
    """An image configuration without its rootfs (image-spec, config.md)."""
    return {
        "created": created,
        "architecture": architecture(),
        "os": "linux",
        "config": inner,
        "history": [{"created": created, "comment": comment}],
    }


def seconds(image: Image) -> int:
    """When it was made, since the epoch; 0 when its configuration does not say."""
    try:
        return int(datetime.fromisoformat(image.created[:19] + "+00:00").timestamp())
    except ValueError:
        return 0


def digests(image: Image) -> list[str]:
    """`nginx@sha256:…` for each of its repositories."""
    names = {reference.parse(record).familiar for record in image.records if not record.startswith(DANGLING)}
    return [f"{name}@{image.manifest}" for name in sorted(names)]


def summary(image: Image, containers: int) -> dict[str, Any]:
    """One line of the list."""
    return {
        "Containers": containers,
        "Created": seconds(image),
        "Id": image.id,
        "Labels": image.labels or None,
        "ParentId": "",
        "RepoDigests": digests(image),
        "RepoTags": image.tags,
        "SharedSize": -1,
        "Size": image.size,
    }


def inspect(image: Image) -> dict[str, Any]:
    """GET /images/{name}/json."""
    config = dict(image.config.get("config") or {})
    return {
        "Id": image.id,
        "RepoTags": image.tags,
        "RepoDigests": digests(image),
        "Parent": "",
        "Comment": (image.config.get("history") or [{}])[-1].get("comment", ""),
        "Created": image.created,
        "DockerVersion": "",
        "Author": image.config.get("author", ""),
        "Config": config,
        "Architecture": image.config.get("architecture", ""),
        "Os": image.config.get("os", ""),
        "Size": image.size,
        "GraphDriver": {"Data": None, "Name": "overlayfs"},
        "RootFS": {"Type": "layers", "Layers": image.config["rootfs"]["diff_ids"]},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
        "Descriptor": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": image.manifest,
            "size": 0,
        },
    }


def history(image: Image) -> list[dict[str, Any]]:
    """GET /images/{name}/history, newest first."""
    lines = []
    for number, entry in enumerate(reversed(image.config.get("history") or [{}])):
        lines.append(
            {
                "Comment": entry.get("comment", ""),
                "Created": seconds(image),
                "CreatedBy": entry.get("created_by", ""),
                "Id": image.id if number == 0 else "<missing>",
                "Size": image.size if number == 0 else 0,
                "Tags": image.tags or None if number == 0 else None,
            }
        )
    return lines
