"""What an image is made of: index → manifests → configuration and layers, as their JSON says. Pure.

Both vocabularies are read, OCI's and Docker's; the labels that keep children from the collector are containerd's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hakobune.errors import InvalidArgument
from hakobune.proto import types_pb2

INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_INDEXES = frozenset((INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"))
_MANIFESTS = frozenset(("application/vnd.oci.image.manifest.v1+json", DOCKER_MANIFEST))
_CONFIGS = frozenset(("application/vnd.oci.image.config.v1+json", DOCKER_CONFIG))
_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_CHILD = "containerd.io/gc.ref.content"
_SAME_VARIANT = {("amd64", "v1"): "", ("arm64", "v8"): "", ("arm", ""): "v7"}


@dataclass(frozen=True, slots=True)
class Platform:
    """Where an image runs; the variant in its normal form."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def of(cls, os: str, architecture: str, variant: str = "") -> Platform:
        """With names that mean the same made the same."""
        architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(architecture, architecture)
        return cls(os, architecture, _SAME_VARIANT.get((architecture, variant), variant))


@dataclass(frozen=True, slots=True)
class Node:
    """A descriptor: something by its digest, of `size` bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None

    @property
    def is_index(self) -> bool:
        """A list of manifests."""
        return self.media_type in _INDEXES

    @property
    def is_manifest(self) -> bool:
        """One image."""
        return self.media_type in _MANIFESTS

    @property
    def is_layer(self) -> bool:
        """A part of a file system."""
        return self.media_type.startswith(_LAYERS)

    @property
    def is_foreign(self) -> bool:
        """A layer that lies elsewhere and is not to be distributed."""
        return ".nondistributable." in self.media_type or ".foreign." in self.media_type

    @property
    def is_config(self) -> bool:
        """The configuration of an image that can run."""
        return self.media_type in _CONFIGS

    @property
    def ref(self) -> str:
        """The name of a write of it, as every containerd client has it."""
        kinds = (
            (self.is_manifest, "manifest"), (self.is_index, "index"), (self.is_layer, "layer"), (self.is_config, "config"),
        )  # fmt: skip
        return f"{next((word for fits, word in kinds if fits), 'unknown')}-{self.digest}"

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        made: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            made["annotations"] = dict(self.annotations)
        if self.platform is not None:
            names = {"os": self.platform.os, "architecture": self.platform.architecture}
            made["platform"] = names | ({"variant": self.platform.variant} if self.platform.variant else {})
        return made

    def message(self) -> types_pb2.Descriptor:
        """As containerd's services have it."""
        return types_pb2.Descriptor(
            media_type=self.media_type, digest=self.digest, size=self.size, annotations=self.annotations
        )


def node(document: Any) -> Node:
    """Read a descriptor. Raises InvalidArgument."""
    try:
        platform = document.get("platform")
        return Node(
            str(document["mediaType"]), str(document["digest"]), int(document["size"]),
            {str(key): str(value) for key, value in (document.get("annotations") or {}).items()},
            Platform.of(platform["os"], platform["architecture"], platform.get("variant") or "") if platform else None,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InvalidArgument(f"image: {document!r:.200} is not a descriptor") from None


def from_message(target: types_pb2.Descriptor) -> Node:
    """Read a descriptor of a containerd service."""
    return Node(target.media_type, target.digest, target.size, dict(target.annotations))


def children(document: Any) -> list[Node]:
    """Of an index its manifests, of a manifest configuration and layers, in their order. Raises InvalidArgument."""
    try:
        listed = document.get("manifests")
        if listed is None:
            listed = [document["config"], *document["layers"]]
        return [node(one) for one in listed]
    except (KeyError, TypeError, AttributeError):
        raise InvalidArgument("image: neither an index nor a manifest") from None


def labels(parent: Node, found: Iterable[Node]) -> dict[str, str]:
    """The labels with which `parent` holds its children."""
    if parent.is_index:
        return {f"{_CHILD}.m.{at}": child.digest for at, child in enumerate(found)}
    return {
        f"{_CHILD}.config" if at == 0 else f"{_CHILD}.l.{at - 1}": child.digest
        for at, child in enumerate(found)
    }


def chosen(found: Iterable[Node], platforms: Iterable[Platform]) -> list[Node]:
    """Children for any of the platforms: one that names none is for all; no platforms means all."""
    wanted = frozenset(platforms)
    return [child for child in found if not wanted or child.platform is None or child.platform in wanted]


def platforms_of(messages: Iterable[types_pb2.Platform]) -> list[Platform]:
    """Read a request's."""
    return [Platform.of(one.os, one.architecture, one.variant) for one in messages]
