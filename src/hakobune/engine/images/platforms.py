"""Platforms as people write them, and the image that a name has for one. Imports: the room's catalogue and model."""

from __future__ import annotations

from dataclasses import replace

from hakobune.containerd.client.transfer import Platform
from hakobune.engine.images.catalogue import Catalogue
from hakobune.engine.images.model import Image, host_platform
from hakobune.errors import InvalidArgument, NotFound
from hakobune.registry.repository import DOCKER_LIST, INDEX

_SYSTEMS = frozenset(("linux", "windows", "darwin", "freebsd", "wasip1"))
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}
_KNOWN = frozenset(
    ("amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "mips64le", "loong64", "wasm")
)


def platform_of(text: str) -> Platform:
    """`linux/arm64/v8`, `arm64` or `linux`; this machine's for "". Raises InvalidArgument."""
    architecture, variant = host_platform()
    if not text:
        return Platform("linux", architecture, variant)
    parts = text.lower().split("/")
    if len(parts) == 1 and parts[0] not in _SYSTEMS:
        parts = ["linux", *parts]
    if len(parts) == 1:
        return Platform(parts[0], architecture, variant)
    wanted = _ARCHITECTURES.get(parts[1], parts[1])
    if len(parts) > 3 or parts[0] not in _SYSTEMS or wanted not in _KNOWN or not all(parts):
        raise InvalidArgument(f'"{text}": unknown operating system or architecture: invalid argument')
    return Platform(parts[0], wanted, parts[2] if len(parts) == 3 else "")


def spoken(platform: Platform) -> str:
    """`linux/arm64/v8`."""
    return "/".join(filter(None, (platform.os, platform.architecture, platform.variant)))


def of(image: Image) -> Platform:
    """What an image says that it is for."""
    return Platform(*(str(image.config.get(key) or "") for key in ("os", "architecture", "variant")))


async def of_image(catalogue: Catalogue, image: Image, name: str, asked: str) -> Image:
    """The image of this name for a platform: another one of the index that the name stands for, or itself.

    Raises NotFound in Docker's words, InvalidArgument for what is no platform.
    """
    wanted, found = platform_of(asked), of(image)
    if not asked or (found.os, found.architecture) == (wanted.os, wanted.architecture):
        return image
    target = image.content.target
    if target.media_type in (INDEX, DOCKER_LIST):
        content = await catalogue.content_for(target, (wanted.os, wanted.architecture))
        if content is not None:
            return replace(image, content=content)
        raise NotFound(f"no matching manifest for {asked} in the manifest list entries")
    raise NotFound(
        f"image with reference {name} was found but does not match the specified platform: "
        f"wanted {wanted.os}/{wanted.architecture}, actual: {found.os}/{found.architecture}"
    )
