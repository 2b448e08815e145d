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
from hakobune.engine.images import elsewhere, layer, progress
from hakobune.engine.images.catalogue import NAMELESS
from hakobune.engine.images.images import Images, named
from hakobune.engine.images.model import Image
from hakobune.engine.images.platforms import platform_of, spoken
from hakobune.engine.images.pull import Run
from hakobune.engine.runtime import SNAPSHOTTER
from hakobune.errors import HakoError, InvalidArgument, NotFound
from hakobune.registry.repository import DOCKER_LIST, INDEX
from hakobune.spec import reference
from hakobune.spec.descriptor import Descriptor

Saved = list[tuple[str, Descriptor]]

_SAVED = "saved"
_FILTERED = "image might be filtered out"  # as containerd says that nothing is for the platforms
_PLACEHOLDER = "<none>"  # what the manager puts where an archive has no whole name


def platforms(texts: Sequence[str]) -> tuple[Platform, ...]:
    """Each `platform` of the query: JSON of the image specification's object. Raises InvalidArgument."""
    return tuple(dict.fromkeys(_platform(text) for text in texts))


def _platform(text: str) -> Platform:
    try:
        given: Any = json.loads(text)
        words = [given["os"], given["architecture"], given.get("variant") or ""]
        return platform_of("/".join(filter(None, map(str, words))))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
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
    catalogue = images.catalogue
    before = {record.name: record.target for record in await catalogue.records()}
    async with layer.lease(images.client) as held:
        try:
            saved = await (_asked_for(images, archive, where) if where else _all(images, archive, held))
        finally:  # before the lease ends, and what nobody holds is collected
            async with catalogue.lock:
                await _keep_the_old(images, before)
    for full, target in saved:
        yield await _named(images, full, target)


async def _asked_for(images: Images, archive: AsyncIterator[bytes], where: Sequence[Platform]) -> Saved:
    """Those for the platforms that are asked for. Raises NotFound when there is none."""
    why = ""
    try:
        if saved := await _transfer(images, archive, where):
            return saved
    except NotFound as err:
        why = f"{err}; "
    asked = " and ".join(map(spoken, where))
    raise NotFound(f"the archive is not whole for {asked}: {why}--platform asks for another")


async def _all(images: Images, archive: AsyncIterator[bytes], held: str) -> Saved:
    """Those for this machine, and what is for others only as it is. Raises NotFound for what is not whole."""
    here = platform_of("")
    lost: NotFound | None = None
    saved: Saved = []
    try:
        saved = await _transfer(images, archive, [here])
    except NotFound as err:
        lost = err
    try:
        index = await elsewhere.index_of(images.client, held)
        if index is None:
            raise lost or NotFound("its index: not found")
        more = await elsewhere.left(images.catalogue, index, {name for name, _ in saved}, lost is None)
    except NotFound as err:
        raise NotFound(f"the archive is not whole for {spoken(here)}: {lost or err}") from None
    for one in more:
        saved += await _transfer(images, one.archive(), one.platforms)
    return list(dict(saved).items())  # an image that is here for others only was named by the first one, too


async def _transfer(images: Images, archive: AsyncIterator[bytes], where: Sequence[Platform]) -> Saved:
    """What the manager has given names to. Raises NotFound when something of what is wanted is not there."""
    run = Run(lambda told: images.client.transfer.load(archive, where, SNAPSHOTTER, told))
    try:
        async with contextlib.aclosing(run.progress()) as said:
            found = [(one.name, one.about) async for one in said if _names(one) and one.about is not None]
    except HakoError as err:
        if _FILTERED in err.message:
            raise NotFound("it has other platforms only") from None
        raise
    for full, target in found:
        if _is_archive(full, target, found):
            await _forget(images, full)
    return [(full, target) for full, target in found if not _is_archive(full, target, found)]


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
