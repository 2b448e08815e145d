"""POST /images/{name}/push: an image, or all that a repository has here, to its registry."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator

from hakobune.engine.images import moving, refusals
from hakobune.engine.images.catalogue import NAMELESS
from hakobune.engine.images.credentials import Credentials
from hakobune.engine.images.images import Images
from hakobune.engine.images.progress import line
from hakobune.engine.images.pull import Run
from hakobune.engine.images.registries import Registries
from hakobune.errors import HakoError, InvalidArgument, NotFound
from hakobune.spec import reference
from hakobune.spec.descriptor import Descriptor
from hakobune.spec.reference import Reference


def wanted(image: str, tag: str) -> Reference:
    """The name of the path and the parameter `tag`; without one all tags are meant. Raises InvalidArgument."""
    name = reference.parse(image)
    if name.digest:
        raise InvalidArgument("cannot push a digest reference")
    return name.tagged(tag) if tag else name


async def lines(
    images: Images, registries: Registries, name: Reference, credentials: Credentials
) -> AsyncGenerator[bytes, None]:
    """What a push says; ending it early ends the push. Raises HakoError in Docker's words."""
    yield moving.message(f"The push refers to repository [{name.name}]")
    for one in await _tagged(images, name):
        async with contextlib.aclosing(_one(images, registries, one, credentials)) as parts:
            async for part in parts:
                yield part


async def _tagged(images: Images, name: Reference) -> list[Reference]:
    if name.tag:
        known = [name] if await _has(images, name) else []
    else:
        parsed = [reference.parse(one) for image in await images.every() for one in image.names]
        known = [one for one in parsed if one.name == name.name]
    if not known:
        raise NotFound(f"An image does not exist locally with the tag: {name.familiar_name}")
    return sorted(known, key=str)


async def _has(images: Images, name: Reference) -> bool:
    try:
        await images.client.images.get(str(name))
    except NotFound:
        return False
    return True


async def _one(
    images: Images, registries: Registries, name: Reference, credentials: Credentials
) -> AsyncGenerator[bytes, None]:
    place = registries.place(name, credentials)
    shown = moving.Pushing()
    async with _source(images, name) as (source, target):
        run = Run(lambda told: images.client.transfer.push(source, place, told))
        try:
            async with contextlib.aclosing(run.progress()) as said:
                async for one in said:
                    for part in shown.lines(one):
                        yield part
        except HakoError as err:
            raise refusals.of_push(err) from None
    image, _ = await images.find(name.familiar)
    images.tell(image, "push", name.familiar)
    yield moving.message(f"{name.tag}: digest: {target.digest} size: {target.size}")
    yield line(progressDetail={}, aux={"Tag": name.tag, "Digest": target.digest, "Size": target.size})


@contextlib.asynccontextmanager
async def _source(images: Images, name: Reference) -> AsyncIterator[tuple[str, Descriptor]]:
    """(name to push from, what is pushed): of an index of which not all is here, the manifest that is."""
    target = (await images.client.images.get(str(name))).target
    manifest = await _part(images, target)
    if manifest is None:
        yield str(name), target
        return
    held = NAMELESS + manifest.digest
    async with images.catalogue.lock:
        await images.catalogue.keep(manifest, [])
    try:
        yield held, manifest
    finally:
        async with images.catalogue.lock:
            await images.catalogue.drop(held)


async def _part(images: Images, target: Descriptor) -> Descriptor | None:
    """None when all is here."""
    content = images.client.content
    document = json.loads(await content.read_all(target.digest))
    if "manifests" not in document:
        return None
    here = []
    for one in document["manifests"]:
        found = Descriptor(str(one["mediaType"]), str(one["digest"]), int(one["size"]))
        if await _whole(images, found):
            here.append((one, found))
    if len(here) == len(document["manifests"]):
        return None
    chosen = images.catalogue.best([one for one, _ in here])
    return next((found for one, found in here if one is chosen), None)


async def _whole(images: Images, manifest: Descriptor) -> bool:
    content = images.client.content
    try:
        document = json.loads(await content.read_all(manifest.digest))
        for part in (document["config"], *document["layers"]):
            await content.info(str(part["digest"]))
    except (NotFound, KeyError, TypeError, ValueError):
        return False
    return True
