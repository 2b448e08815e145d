"""DELETE /images/{name} and prune: names first, content with the last name, never under a running container."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from hakobune.engine.images import sizes
from hakobune.engine.images.catalogue import NAMELESS
from hakobune.engine.images.images import Images, named
from hakobune.engine.images.listing import Fits, labelled, older
from hakobune.engine.images.model import Image, short
from hakobune.engine.schema.filters import Filters
from hakobune.errors import Conflict, DataLoss, NotFound
from hakobune.spec import reference

_PRUNE_FILTERS = ("dangling", "label", "label!", "until")

Gone = list[dict[str, str]]


async def remove(images: Images, text: str, *, force: bool) -> Gone:
    """What went, in the API's words. Raises NotFound, Conflict, InvalidArgument; then nothing has changed."""
    async with images.catalogue.lock:
        try:
            found, name = await images.find(text)
        except DataLoss:
            return await _forget(images, text)
        image = await images.complete(found)
        users = images.users(image.id)
        if name is None or name.digest:
            _check_id(image, users, force=force)
            return await take_away(images, image)
        if len(image.names) > 1:
            return await _untag(images, image, [name.familiar])
        if users and not force:
            raise Conflict(
                f'conflict: unable to remove repository reference "{text}" (must force) - container '
                f"{short(users[0][0])} is using its referenced image {image.short_id}"
            )
        if any(runs for _, runs in users):  # its containers run on without a name for their image
            await images.catalogue.keep(image.content.target, [])
            return await _untag(images, image, [name.familiar])
        return await take_away(images, image)


def _check_id(image: Image, users: Sequence[tuple[str, bool]], *, force: bool) -> None:
    """Raise Conflict when an image named by its id may not go."""
    why = "", ""
    if running := next((one for one, runs in users if runs), ""):
        why = "cannot be forced", f"image is being used by running container {short(running)}"
    elif force:
        return
    elif len(image.names) > 1:
        why = "must be forced", "image is referenced in multiple repositories"
    elif users:
        why = "must be forced", f"image is being used by stopped container {short(users[0][0])}"
    if why[0]:
        raise Conflict(f"conflict: unable to delete {image.short_id} ({why[0]}) - {why[1]}")


async def _forget(images: Images, text: str) -> Gone:
    """The name of an image whose content is lost."""
    name = named(text)
    if name is None:
        raise NotFound(f"No such image: {text}")
    await images.catalogue.drop(str(name), sync=True)
    return [{"Untagged": name.familiar}]


async def _untag(images: Images, image: Image, names: Sequence[str]) -> Gone:
    gone: Gone = []
    for name in names:
        await images.catalogue.drop(str(reference.parse(name)))
        images.tell(image, "untag", name)
        gone.append({"Untagged": name})
    return gone


async def take_away(images: Images, image: Image) -> Gone:
    """All names and the content. Needs the catalogue's lock."""
    await images.catalogue.keep(image.content.target, [])  # the last name to go, whatever happens in between
    gone = await _untag(images, image, (*image.names, *image.digested))
    for target in await _targets(images, image):
        await images.catalogue.drop(NAMELESS + target, sync=True)
    images.tell(image, "delete")
    gone.append({"Deleted": image.id})
    if not images.users(image.id) and not await _shared(images, image):
        gone.append({"Deleted": image.chain})
    return gone


async def _targets(images: Images, image: Image) -> list[str]:
    """Its manifests: one, or more when other tools named the same configuration."""
    found = []
    for record in await images.catalogue.records():
        if not record.name.startswith(NAMELESS):
            continue
        with contextlib.suppress(DataLoss):
            if (await images.catalogue.content(record.target)).id == image.id:
                found.append(record.target.digest)
    return found


async def _shared(images: Images, image: Image) -> bool:
    return any(one.chain == image.chain for one in await images.every())


async def prune(images: Images, filters: Filters) -> dict[str, Any]:
    """Remove images that no container was made of: those without a name, with dangling=false the others too."""
    filters.check(_PRUNE_FILTERS)
    everything = not filters.bool("dangling", True)
    fits: tuple[Fits, ...] = (labelled(filters), older(filters))
    gone: Gone = []
    every = await images.every()
    for image in every:
        if (image.names and not everything) or not all(one(image) for one in fits):
            continue
        async with images.catalogue.lock:
            try:
                image = await images.complete(image)
            except NotFound:
                continue
            if images.users(image.id) or (image.names and not everything):
                continue
            gone += await take_away(images, image)
    space = max(sizes.total(every) - sizes.total(await images.every()), 0)
    return {"ImagesDeleted": gone or None, "SpaceReclaimed": space}
