"""POST /images/create?fromImage=…: the starter image, and a clear refusal of everything else."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from hakobune.engine.images import progress
from hakobune.engine.images.images import Images
from hakobune.engine.images.model import host_platform, short
from hakobune.engine.images.starter import STARTER
from hakobune.errors import InvalidArgument, NotFound
from hakobune.spec import reference
from hakobune.spec.reference import Reference


def wanted(image: str, tag: str) -> Reference:
    """The whole name of the two parameters `fromImage` and `tag`, which may be a digest. Raises InvalidArgument."""
    name = reference.parse(image)
    if not tag:
        return name.whole()
    return reference.parse(f"{name.name}@{tag}" if ":" in tag else f"{name.name}:{tag}")


def check(name: Reference, platform: str) -> None:
    """Raise NotFound unless this can be had, InvalidArgument for a platform that is none."""
    if name.name != STARTER.name:
        raise NotFound(
            f"pull access denied for {name.familiar_name}, repository does not exist or may require "
            "'docker login': registries are not served yet, only hako/starter and imported images are"
        )
    if name.tag != STARTER.tag or name.digest:
        raise NotFound(
            f"manifest for {name.familiar} not found: manifest unknown: there is only {STARTER.familiar}"
        )
    check_platform(platform)


def check_platform(platform: str) -> None:
    """Raise NotFound for a platform that is not this host's, InvalidArgument for one that is none."""
    if not platform:
        return
    parts = platform.lower().split("/")
    if len(parts) > 3 or not all(parts):
        raise InvalidArgument(f'"{platform}": unknown operating system or architecture: invalid argument')
    architecture, _ = host_platform()
    aliases = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
    if parts[0] != "linux" or (len(parts) > 1 and aliases.get(parts[1], parts[1]) != architecture):
        raise NotFound(f"no matching manifest for {platform} in the manifest list entries")


async def pull(images: Images) -> AsyncIterator[bytes]:
    """Make the starter image with the messages that a pull has."""
    yield progress.line(status=f"Pulling from {STARTER.familiar_name}", id=STARTER.tag)
    with contextlib.suppress(NotFound):
        image, _ = await images.find(STARTER.familiar)
        yield progress.line(status=f"Digest: {image.content.target.digest}")
        yield progress.line(status=f"Status: Image is up to date for {STARTER.familiar}")
        return
    image = await images.fetch_starter()
    layer = short(image.chain)
    for status in ("Pulling fs layer", "Download complete", "Pull complete"):
        yield progress.line(status=status, progressDetail={}, id=layer)
    yield progress.line(status=f"Digest: {image.content.target.digest}")
    yield progress.line(status=f"Status: Downloaded newer image for {STARTER.familiar}")
