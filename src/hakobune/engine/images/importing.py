"""POST /images/create?fromSrc=-: an image of one layer out of the archive that the client sends."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from hakobune.engine.images import changes, layer
from hakobune.engine.images.images import Images
from hakobune.engine.images.model import Image, host_platform
from hakobune.engine.schema.times import rfc3339
from hakobune.errors import InvalidArgument
from hakobune.spec import reference
from hakobune.spec.reference import Reference

_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to become of the archive, checked before a byte of it is read; `name` may be None."""

    name: Reference | None
    config: dict[str, Any]


def wanted(repository: str, tag: str, message: str, instructions: Sequence[str], platform: str) -> Wanted:
    """Read the request's parameters. Raises InvalidArgument."""
    name = None
    if repository:
        name = reference.parse(repository)
        if name.digest or ":" in tag:
            raise InvalidArgument("cannot import digest reference")
        name = name.tagged(tag) if tag else name.whole()
    architecture, variant = _platform(platform)
    now = rfc3339(time.time_ns())
    config = {
        "architecture": architecture,
        **({"variant": variant} if variant else {}),
        "os": "linux",
        "created": now,
        "config": changes.apply(instructions),
        "history": [{"created": now, "comment": message or "Imported from -"}],
    }
    return Wanted(name, config)


def _platform(text: str) -> tuple[str, str]:
    """(architecture, variant); this host's for nothing."""
    if not text:
        return host_platform()
    system, _, rest = text.lower().partition("/")
    architecture, _, variant = rest.partition("/")
    if system != "linux":
        raise InvalidArgument(f"operating system is not supported: {system}")
    return (_ALIASES.get(architecture, architecture), variant) if architecture else host_platform()


async def load(images: Images, asked: Wanted, archive: AsyncIterator[bytes]) -> Image:
    """Store, unpack and name it.

    Raises InvalidArgument when it is no archive, ResourceExhausted; then, and when cancelled, nothing is left.
    """
    async with layer.lease(images.client):
        base = await layer.add(images.client, archive)
        async with images.catalogue.lock:
            full = str(asked.name) if asked.name else ""
            content = await layer.publish(images.client, images.catalogue, [base], asked.config, full)
    image = Image(content, (asked.name.familiar,) if asked.name else ())
    images.tell(image, "import")
    if asked.name:
        images.tell(image, "tag", asked.name.familiar)
    return image
