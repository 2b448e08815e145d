"""What images take on disk: each layer counts once, however many images lie on it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from hakobune.engine.images.model import Image, chains


def layers(image: Image) -> dict[str, int]:
    """Bytes of each of its layers, by the name of its snapshot: the same layer on another one is another."""
    return dict(zip(chains(image.config["rootfs"]["diff_ids"]), image.content.sizes, strict=True))


def total(images: Iterable[Image]) -> int:
    """Bytes of all layers."""
    found: dict[str, int] = {}
    for image in images:
        found |= layers(image)
    return sum(found.values())


def shared(images: Iterable[Image]) -> Mapping[str, int]:
    """By id: the bytes of an image that another one has, too."""
    found = {image.id: layers(image) for image in images}
    users = Counter(layer for each in found.values() for layer in each)
    return {
        identity: sum(size for layer, size in each.items() if users[layer] > 1)
        for identity, each in found.items()
    }
