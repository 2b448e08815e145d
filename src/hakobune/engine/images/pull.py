"""POST /images/create?fromImage=…: an image from its registry; the starter image is made here.

The answer begins when the registry has said what the name stands for: until then a failure has a status of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from hakobune.containerd.client.images import Image as Record
from hakobune.containerd.client.transfer import Progress
from hakobune.engine.images import moving, platforms, progress, refusals
from hakobune.engine.images.credentials import Credentials
from hakobune.engine.images.images import Images
from hakobune.engine.images.model import host_platform, short
from hakobune.engine.images.platforms import platform_of
from hakobune.engine.images.registries import Registries
from hakobune.engine.images.starter import STARTER
from hakobune.engine.runtime import SNAPSHOTTER
from hakobune.errors import HakoError, NotFound
from hakobune.spec import reference
from hakobune.spec.reference import Reference

_BEGINS = "fetching image content"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`name` without tag and digest: all tags."""

    name: Reference
    platform: str = ""


def wanted(image: str, tag: str, platform: str) -> Wanted:
    """Read the parameters `fromImage`, `tag` (which may be a digest) and `platform`. Raises InvalidArgument."""
    name = reference.parse(image)
    if tag:
        name = reference.parse(f"{name.name}@{tag}" if ":" in tag else f"{name.name}:{tag}")
    elif name.digest:  # a digest says it all
        name = reference.parse(f"{name.name}@{name.digest}")
    elif name.name == STARTER.name:
        name = name.whole()
    platform_of(platform)
    return Wanted(name, platform)


async def lines(
    images: Images, registries: Registries, asked: Wanted, credentials: Credentials
) -> AsyncGenerator[bytes, None]:
    """What a pull says, line by line; ending it early ends the pull. Raises HakoError in Docker's words."""
    if asked.name.name == STARTER.name:
        check_starter(asked.name, asked.platform)
        parts = starter(images)
    elif asked.name.tag or asked.name.digest:
        parts = _one(images, registries, asked, credentials)
    else:
        parts = _every(images, registries, asked, credentials)
    async with contextlib.aclosing(parts):
        async for part in parts:
            yield part


async def _every(
    images: Images, registries: Registries, asked: Wanted, credentials: Credentials
) -> AsyncGenerator[bytes, None]:
    from hakobune.registry.remote import open_repository  # a megabyte for who needs it

    access = registries.access(asked.name.domain, credentials)
    try:
        async with open_repository(asked.name, access) as repository:
            tags = await repository.tags()
    except HakoError as err:
        raise refusals.of_pull(err, asked.name, asked.platform) from None
    for tag in tags:
        one = Wanted(asked.name.tagged(tag), asked.platform)
        async with contextlib.aclosing(_one(images, registries, one, credentials)) as parts:
            async for part in parts:
                yield part


async def _one(
    images: Images, registries: Registries, asked: Wanted, credentials: Credentials
) -> AsyncGenerator[bytes, None]:
    name = asked.name
    async with images.catalogue.lock:
        held = await images.catalogue.hold(str(name))
    try:
        async with contextlib.aclosing(_transfer(images, registries, asked, credentials)) as parts:
            async for part in parts:
                yield part
    finally:
        await asyncio.shield(_settle(images, name, held))
    image, _ = await images.find(name.familiar)
    await platforms.of_image(images.catalogue, image, asked.name.familiar, asked.platform)
    images.tell_pull(image, name)
    digest = image.content.target.digest
    known = held is not None and held.target.digest == digest
    yield moving.message(f"Digest: {digest}")
    verb = "Image is up to date" if known else "Downloaded newer image"
    yield moving.message(f"Status: {verb} for {name.familiar}")


async def _settle(images: Images, name: Reference, held: Record | None) -> None:
    async with images.catalogue.lock:
        await images.catalogue.settle(str(name), held)


async def _transfer(
    images: Images, registries: Registries, asked: Wanted, credentials: Credentials
) -> AsyncGenerator[bytes, None]:
    name = asked.name
    platform = platform_of(asked.platform)
    place = registries.place(name, credentials)
    shown = moving.Pulling()
    run = Run(lambda told: images.client.transfer.pull(place, str(name), platform, SNAPSHOTTER, told))
    try:
        async with contextlib.aclosing(run.progress()) as said:
            async for one in said:
                if one.event == _BEGINS:  # as Docker shows where it pulls from: without the registry
                    yield moving.message(f"Pulling from {name.path}", id=name.tag or name.digest)
                for part in shown.lines(one):
                    yield part
    except HakoError as err:
        spoken = "/".join(filter(None, (platform.os, platform.architecture, platform.variant)))
        raise refusals.of_pull(err, name, spoken) from None
    for part in shown.rest():
        yield part


class Run:
    """A transfer and what it says, as one sequence."""

    def __init__(self, start: Callable[[Callable[[Progress], Awaitable[None]]], Awaitable[None]]) -> None:
        self._start = start
        self._said: asyncio.Queue[Progress | None] = asyncio.Queue(64)

    async def progress(self) -> AsyncGenerator[Progress, None]:
        """Until its end. Raises what the transfer does; closed early, the transfer is cancelled."""
        task = asyncio.get_running_loop().create_task(self._run())
        try:
            while (one := await self._said.get()) is not None:
                yield one
            await task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, HakoError):
                await task

    async def _run(self) -> None:
        try:
            await self._start(self._said.put)
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await self._said.put(None)


# --- the starter image ---


def check_starter(name: Reference, platform: str) -> None:
    """Raise NotFound unless this is the starter image as it can be made here."""
    if name.tag != STARTER.tag or name.digest:
        raise NotFound(
            f"manifest for {name.familiar} not found: manifest unknown: there is only {STARTER.familiar}"
        )
    asked = platform_of(platform)
    if (asked.os, asked.architecture) != ("linux", host_platform()[0]):
        raise NotFound(f"no matching manifest for {platform} in the manifest list entries")


async def starter(images: Images) -> AsyncGenerator[bytes, None]:
    """Make it with the messages that a pull has."""
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


async def begun(parts: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    """The same lines, once the first of them is there. Raises what is raised before it."""
    first = await anext(parts, b"")

    async def whole() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(parts):
            yield first
            async for part in parts:
                yield part

    return whole()
