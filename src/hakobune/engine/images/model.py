"""An image as the engine sees it, and the documents it is made of: data only."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hakobune.logs.json_file import parse_time
from hakobune.spec.descriptor import Descriptor

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
# layers of Docker's kind, of the same bytes, in an OCI manifest
OCI_LAYERS = {
    _DOCKER_LAYER: LAYER,
    f"{_DOCKER_LAYER}.gzip": f"{LAYER}+gzip",
    f"{_DOCKER_LAYER}.zstd": f"{LAYER}+zstd",
}

_ARCHITECTURES = {
    "x86_64": ("amd64", ""), "aarch64": ("arm64", "v8"), "armv7l": ("arm", "v7"), "armv6l": ("arm", "v6"),
    "i686": ("386", ""), "i386": ("386", ""), "ppc64le": ("ppc64le", ""), "riscv64": ("riscv64", ""),
    "s390x": ("s390x", ""),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Content:
    """What an image is, whatever its names: `target` is its manifest, `id` the digest of its configuration.

    `chain` is the snapshot of its topmost layer, `sizes` the bytes of each layer, `created` in nanoseconds.
    """

    id: str
    target: Descriptor
    config: Mapping[str, Any]
    chain: str
    sizes: tuple[int, ...]
    created: int
    blobs: tuple[Descriptor, ...] = ()  # its layers as they are stored, from the bottom up

    @property
    def size(self) -> int:
        """Bytes of all layers."""
        return sum(self.sizes)

    @property
    def labels(self) -> dict[str, str]:
        """Those of its configuration."""
        return dict((self.config.get("config") or {}).get("Labels") or {})


@dataclass(frozen=True, slots=True)
class Image:
    """Content with its names, familiar ones as `alpine:latest`; `updated` is when the last name was given.

    `digested` are names by digest, as an image has that was pulled by one: `alpine@sha256:…`.
    """

    content: Content
    names: tuple[str, ...] = ()
    updated: int = 0
    digested: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """sha256:…, of the configuration."""
        return self.content.id

    @property
    def chain(self) -> str:
        """The snapshot that containers are made on."""
        return self.content.chain

    @property
    def config(self) -> Mapping[str, Any]:
        """The OCI image configuration: `config`, `rootfs`, `history`, …"""
        return self.content.config

    @property
    def size(self) -> int:
        """Bytes of all layers."""
        return self.content.size

    @property
    def created(self) -> int:
        """Nanoseconds since the epoch."""
        return self.content.created

    @property
    def short_id(self) -> str:
        """Twelve digits."""
        return short(self.id)


def short(identity: str) -> str:
    """The first twelve digits of a digest or id."""
    return identity.removeprefix("sha256:")[:12]


def digest_of(data: bytes) -> str:
    """sha256:…"""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def document(content: Any) -> bytes:
    """JSON as it is stored: the same bytes for the same content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogateescape"
    )


def chains(diffs: Sequence[str]) -> list[str]:
    """The name of each layer's snapshot, from the bottom up."""
    found: list[str] = []
    for diff in diffs:
        found.append(digest_of(f"{found[-1]} {diff}".encode()) if found else diff)
    return found


def created_of(config: Mapping[str, Any]) -> int:
    """Nanoseconds since the epoch; 0 when it does not say."""
    return parse_time(str(config.get("created") or "")) or 0


def host_platform() -> tuple[str, str]:
    """(architecture, variant) of this machine, in the words of images."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, (machine, ""))


def manifest(config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
    """An OCI image manifest."""
    return document({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": _plain(config),
        "layers": [_plain(layer) for layer in layers],
    })  # fmt: skip


def _plain(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}
