"""Images whose documents or layers are damaged, pulled again by their digests where a registry has them.

By its digest an image is what it was, whatever its name stands for in the registry by now. Imports: the room's own modules.
"""

from __future__ import annotations

import contextlib
import json

from hakobune.containerd.client.images import Image as Record
from hakobune.containerd.client.transfer import Progress
from hakobune.engine.images import credentials
from hakobune.engine.images.catalogue import NAMELESS
from hakobune.engine.images.images import Images
from hakobune.engine.images.platforms import platform_of
from hakobune.engine.images.registries import Registries
from hakobune.engine.images.starter import STARTER
from hakobune.engine.runtime import SNAPSHOTTER
from hakobune.errors import HakoError, NotFound
from hakobune.registry.repository import DOCKER_LIST, INDEX
from hakobune.spec import reference
from hakobune.spec.descriptor import Descriptor

_NOWHERE = "no registry is known for it: load or build it again, or remove it"


async def bring(images: Images, registries: Registries) -> dict[str, str]:
    """Full names of images that were not whole, with "" for one that is again, else why not and what to do. Raises HakoError."""
    damaged = [one for one in await images.catalogue.records() if not await _whole(images, one.target)]
    found: dict[str, str] = {}
    for record in damaged:  # one that has two names is mended by the first
        fine = await _whole(images, record.target)
        found[record.name] = "" if fine else await _one(images, registries, record)
    return found


async def _whole(images: Images, target: Descriptor) -> bool:
    """Of an index: it has an image that is here, and none that is here in part."""
    if target.media_type not in (INDEX, DOCKER_LIST):
        return await images.catalogue.is_whole(target.digest)
    content = images.client.content
    try:
        listed = json.loads(await content.read_all(target.digest))["manifests"]
        here = []
        for one in listed:
            with contextlib.suppress(NotFound):
                await content.info(str(one["digest"]))
                here.append(str(one["digest"]))
        return bool(here) and all([await images.catalogue.is_whole(digest) for digest in here])
    except (NotFound, ValueError, KeyError, TypeError):
        return False


async def _one(images: Images, registries: Registries, record: Record) -> str:
    if record.name.startswith(NAMELESS) or record.name == str(STARTER):
        return _NOWHERE
    name = reference.parse(record.name)
    there = reference.parse(f"{name.name}@{record.target.digest}")

    async def told(_: Progress) -> None:
        return

    try:
        place = registries.place(there, credentials.NONE)
        await images.client.transfer.pull(place, record.name, platform_of(""), SNAPSHOTTER, told)
    except HakoError as err:
        return f"{there.familiar} cannot be pulled again ({err}): pull or load it, or remove it"
    finally:
        images.catalogue.forget(record.target.digest)
    return ""
