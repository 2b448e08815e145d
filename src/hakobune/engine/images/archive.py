"""Images as one archive: GET /images/get, GET /images/{name}/get, POST /images/load.

The manager writes and reads it (docker-archive and OCI layout in one); here are names: which are meant, and what
becomes of those that an archive brings. Imports: the room's own modules, containerd.client.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from hakobune.containerd.client.images import Image as Record
from hakobune.containerd.client.transfer import Platform, Progress
from hakobune.engine.images import progress
from hakobune.engine.images.catalogue import NAMELESS
from hakobune.engine.images.images import Images, named
from hakobune.engine.images.model import Image
from hakobune.engine.images.pull import Run, platform_of
from hakobune.engine.runtime import SNAPSHOTTER
from hakobune.errors import InvalidArgument, NotFound
from hakobune.registry.repository import DOCKER_LIST, INDEX
from hakobune.spec import reference
from hakobune.spec.descriptor import Descriptor

_SAVED = "saved"
_PLACEHOLDER = "<none>"  # what the manager puts where an archive has no whole name


def platforms(texts: Sequence[str]) -> tuple[Platform, ...]:
    """Each `platform` of the query: JSON of the image specification's object. Raises InvalidArgument."""
    return tuple(dict.fromkeys(_platform(text) for text in texts))


def _platform(text: str) -> Platform:
    try:
        given: Any = json.loads(text)
        words = [given["os"], given["architecture"], given.get("variant") or ""]
        return platform_of("/".join(filter(None, map(str, words))))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidArgument(f"invalid platform {text!r}: os and architecture are needed") from None


async def save(images: Images, wanted: Sequence[str], where: Sequence[Platform]) -> AsyncIterator[bytes]:
    """The archive, once its first piece is there; without `where` for all platforms that every image is here for.

    Raises NotFound, InvalidArgument before the first piece.
    """
    if not wanted:
        raise InvalidArgument("no image is named")
    records = [record for text in wanted for record in await _records(images, text)]
    for record in records:
        for one in where:
            await _check(images, record, one)
    where = where or await _common(images, records) or [platform_of("")]
    names = list(dict.fromkeys(record.name for record in records))
    parts = images.client.transfer.save(names, where)
    first = await anext(parts, b"")

    async def whole() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(parts):  # type: ignore[type-var]
            yield first
            async for part in parts:
                yield part

    return whole()


async def _common(images: Images, records: Sequence[Record]) -> Sequence[Platform]:
    """Platforms that all lists of images have; this machine's when there is no list, or none in common."""
    lists = [one.target for one in records if one.target.media_type in (INDEX, DOCKER_LIST)]
    each = [set(await images.catalogue.platforms(target)) for target in lists]
    return [Platform(*words) for words in sorted(set.intersection(*each))] if each else []


async def _check(images: Images, record: Record, where: Platform) -> None:
    """Raise NotFound when the image is not here for the platform."""
    if record.target.media_type in (INDEX, DOCKER_LIST):
        found = [one[:2] for one in await images.catalogue.platforms(record.target)]
    else:
        config = (await images.catalogue.content(record.target)).config
        found = [(str(config.get("os")), str(config.get("architecture")))]
    if (where.os, where.architecture) not in found:
        raise NotFound(
            f"image {record.name} does not provide the specified platform ({where.os}/{where.architecture})"
        )


async def _records(images: Images, text: str) -> list[Record]:
    """All of a repository that is named without a tag, a name's own, or one that an id has. Raises NotFound."""
    records = await images.catalogue.records()
    if named(text) is not None and not (name := reference.parse(text)).tag and not name.digest:
        of_repository = [record for record in records if _repository(record.name) == name.name]
        if of_repository:
            return of_repository
    image, found = await images.find(text)
    if found is not None and not found.digest:
        return [record for record in records if record.name == str(found)]
    return [record for record in records if record.target.digest == image.content.target.digest][:1]


def _repository(full: str) -> str:
    return "" if full.startswith(NAMELESS) else reference.parse(full).name


async def load(
    images: Images, archive: AsyncIterator[bytes], where: Sequence[Platform]
) -> AsyncGenerator[bytes, None]:
    """What `docker load` shows. Names that stood for other images stand for these now; the others stay without one.

    Raises InvalidArgument when it is no image archive, ResourceExhausted; names that were given until then stay.
    """
    client, catalogue = images.client, images.catalogue
    before = {record.name: record.target for record in await catalogue.records()}
    where = where or [platform_of("")]
    run = Run(lambda told: client.transfer.load(archive, where, SNAPSHOTTER, told))
    saved: list[tuple[str, Descriptor]] = []
    try:
        async with contextlib.aclosing(run.progress()) as said:
            saved = [(one.name, one.about) async for one in said if _names(one) and one.about is not None]
    except NotFound as err:
        spoken = " and ".join(
            "/".join(filter(None, (one.os, one.architecture, one.variant))) for one in where
        )
        raise NotFound(f"the archive is not whole for {spoken}: {err}; --platform asks for another") from None
    finally:
        async with catalogue.lock:
            await _keep_the_old(images, before)
    for full, target in saved:
        if _is_archive(full, target, saved):
            await _forget(images, full)
        else:
            yield await _named(images, full, target)


def _is_archive(full: str, target: Descriptor, saved: Sequence[tuple[str, Descriptor]]) -> bool:
    """The manager gives a digest's name to the index of the whole archive, too: the first of all, and no image."""
    return full.startswith(_PLACEHOLDER) and target.digest == saved[0][1].digest


async def _forget(images: Images, full: str) -> None:
    async with images.catalogue.lock:
        await images.catalogue.drop(full)


def _names(one: Progress) -> bool:
    return one.event == _SAVED and bool(one.name)


async def _keep_the_old(images: Images, before: dict[str, Descriptor]) -> None:
    """What has lost its last name by this is kept without one."""
    records = await images.catalogue.records()
    now = {record.name: record.target.digest for record in records}
    for name, target in before.items():
        if name in now and now[name] != target.digest:
            await images.catalogue.keep(target, records)


async def _named(images: Images, full: str, target: Descriptor) -> bytes:
    """The name as ours are, and the line that tells of it."""
    name = None
    if not full.startswith(_PLACEHOLDER):
        name = reference.parse(full).whole()
    wanted = str(name) if name else NAMELESS + target.digest
    async with images.catalogue.lock:
        images.catalogue.forget(target.digest)
        await images.catalogue.put(wanted, target)
        if wanted != full:
            await images.catalogue.drop(full)
    image = Image(await images.catalogue.content(target), (name.familiar,) if name else ())
    images.tell(image, "load", name.familiar if name else "")
    said = f"Loaded image: {name.familiar}" if name else f"Loaded image ID: {image.id}"
    return progress.line(stream=f"{said}\n")
