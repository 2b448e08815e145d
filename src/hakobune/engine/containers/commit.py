"""POST /commit: an image of a container's file system as it is now, and of how it is started.

The container is frozen meanwhile, unless told otherwise; that we froze it is on record, so that an engine that dies
over a commit does not leave it so. The new layer is the manager's work (Diff); until the image has its name everything
hangs on a lease, and is nobody's. Imports: the room's own modules, images.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hakobune.engine.containers import change
from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.export import check
from hakobune.engine.containers.model import Container
from hakobune.engine.images import changes, layer
from hakobune.engine.images.images import Images
from hakobune.engine.images.layer import Layer
from hakobune.engine.images.model import OCI_LAYERS, Image
from hakobune.engine.schema.times import rfc3339
from hakobune.errors import HakoError, InvalidArgument
from hakobune.failpoint import reach
from hakobune.spec import reference
from hakobune.spec.descriptor import Descriptor
from hakobune.spec.reference import Reference

# what an image's configuration has of a container's (image-spec, config.md; the last four are Docker's)
_KEPT = ("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal",
         "Healthcheck", "Shell", "OnBuild", "ArgsEscaped")  # fmt: skip
_UNION = ("ExposedPorts", "Labels", "Volumes")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the client asks for; `config` is what its instructions make of its own configuration."""

    name: Reference | None
    config: Mapping[str, Any]
    author: str = ""
    comment: str = ""
    pause: bool = True


def wanted(
    container: Mapping[str, Any], repository: str, tag: str, instructions: Sequence[str], body: Any
) -> tuple[Reference | None, dict[str, Any]]:
    """(name, configuration) of a request: the instructions change the client's configuration, or the container's.

    Raises InvalidArgument.
    """
    name = None
    if repository:
        name = reference.parse(repository)
        if name.digest or name.tag:
            raise InvalidArgument(f"unexpected repository name: {repository}")
        name = name.tagged(tag) if tag else name.whole()
    if body is not None and not isinstance(body, dict):
        raise InvalidArgument("invalid JSON: an object is needed")
    given = container if body is None else body
    base = copy.deepcopy({key: value for key, value in given.items() if key in _KEPT and value})
    return name, changes.apply(instructions, base)


async def commit(deps: Deps, images: Images, container: Container, asked: Wanted) -> Image:
    """The new image. Raises Conflict, NotFound, InvalidArgument, ResourceExhausted; then nothing of it is left."""
    check(container, "commit")
    parent, _ = await images.find(container.image)
    parent = await images.complete(parent)
    async with layer.lease(images.client):
        async with _frozen(deps, container, wanted=asked.pause):
            made = await layer.of_snapshot(images.client, container.id, container.chain)
        config = _configuration(parent, container, asked, empty=made is None)
        layers = [*_layers(parent), *([made] if made else [])]
        async with images.catalogue.lock:
            full = str(asked.name) if asked.name else ""
            content = await layer.publish(images.client, images.catalogue, layers, config, full)
    reach("engine.commit.named")
    image = Image(content, (asked.name.familiar,) if asked.name else ())
    familiar = asked.name.familiar if asked.name else ""
    if familiar:
        images.tell(image, "tag", familiar)
    deps.tell(container, "commit", comment=asked.comment, imageID=image.id, imageRef=familiar)
    return image


def _layers(parent: Image) -> list[Layer]:
    diffs = parent.config["rootfs"]["diff_ids"]
    return [
        Layer(Descriptor(OCI_LAYERS.get(blob.media_type, blob.media_type), blob.digest, blob.size), diff)
        for blob, diff in zip(parent.content.blobs, diffs, strict=True)
    ]


@contextlib.asynccontextmanager
async def _frozen(deps: Deps, container: Container, *, wanted: bool) -> AsyncGenerator[None, None]:
    """Its processes stand still inside; one that does not run, or is frozen already, is left as it is."""
    if not wanted or container.state.status != "running":
        yield
        return
    try:
        with contextlib.suppress(HakoError):  # it may have ended just now
            await change.pause(deps, container, thaw=True)
        reach("engine.commit.frozen")
        yield
    finally:
        await asyncio.shield(_thaw(deps, container))


async def _thaw(deps: Deps, container: Container) -> None:
    """Unless somebody else has frozen it, or thawed or ended it."""
    if container.thaw:
        with contextlib.suppress(HakoError):
            await change.unpause(deps, container)
    container.thaw = False


def _configuration(parent: Image, container: Container, asked: Wanted, *, empty: bool) -> dict[str, Any]:
    """The image's configuration, all but its layers."""
    now = rfc3339(time.time_ns())
    step = {
        "created": now,
        "created_by": " ".join(container.config.get("Cmd") or ()),
        **({"author": asked.author} if asked.author else {}),
        **({"comment": asked.comment} if asked.comment else {}),
        **({"empty_layer": True} if empty else {}),
    }
    kept = {
        key: value
        for key, value in parent.config.items()
        if key not in ("rootfs", "history", "config", "author")
    }
    return {
        **kept,
        "created": now,
        **({"author": asked.author} if asked.author else {}),
        "config": merged(asked.config, container.config),
        "history": [*(parent.config.get("history") or ()), step],
    }


def merged(config: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, Any]:
    """The client's configuration, and where that says nothing the container's, as Docker merges the two."""
    found = {key: config.get(key) for key in _KEPT}
    theirs = {key: container.get(key) for key in _KEPT}
    for key in _UNION:
        found[key] = {**(theirs[key] or {}), **(found[key] or {})}
    names = {one.partition("=")[0] for one in found["Env"] or ()}
    found["Env"] = [*(found["Env"] or ()), *(
        one for one in theirs["Env"] or () if one.partition("=")[0] not in names
    )]  # fmt: skip
    if not found["Entrypoint"]:
        found["Cmd"] = found["Cmd"] or theirs["Cmd"]
        if found["Entrypoint"] is None:
            found["Entrypoint"] = theirs["Entrypoint"]
    if theirs["Healthcheck"]:
        found["Healthcheck"] = {**theirs["Healthcheck"], **(found["Healthcheck"] or {})}
    for key in ("User", "WorkingDir", "StopSignal", "Shell"):
        found[key] = found[key] or theirs[key]
    return {key: value for key, value in found.items() if value}
