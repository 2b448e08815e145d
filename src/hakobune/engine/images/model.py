"""An image as the engine shows it, and the words of its documents."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hakobune.spec import reference

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
GC_CONFIG = "containerd.io/gc.ref.content.config"
GC_LAYER = "containerd.io/gc.ref.content.l."
GC_SNAPSHOT = "containerd.io/gc.ref.snapshot.overlayfs"
DANGLING = "moby-dangling@"  # a record that no name of a repository leads to, as Moby spells it


@dataclass(frozen=True, slots=True)
class Image:
    """One image with all its names. `id` is its config's digest, `chain` the snapshot of its top layer."""

    id: str
    manifest: str  # digest
    records: tuple[str, ...]  # names of the manager's records, full
    chain: str
    config: Mapping[str, Any]
    size: int  # bytes, unpacked

    @property
    def tags(self) -> list[str]:
        """`nginx:latest` …"""
        return [reference.parse(record).short for record in self.records if not record.startswith(DANGLING)]

    @property
    def labels(self) -> dict[str, str]:
        """Of its configuration."""
        return dict((self.config.get("config") or {}).get("Labels") or {})

    @property
    def created(self) -> str:
        """RFC 3339."""
        return str(self.config.get("created") or "")


def chain_of(diff_ids: list[str]) -> str:
    """The name of the snapshot that holds these layers (image-spec, config.md: ChainID)."""
    chain = diff_ids[0] if diff_ids else ""
    for diff_id in diff_ids[1:]:
        chain = "sha256:" + hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest()
    return chain
