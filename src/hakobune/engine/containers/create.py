"""POST /containers/create: everything is checked, then made in an order that a crash can be cleaned up after.

The row in the store is what counts: what was made before it (snapshot, directory) without a row is taken away
at the next boot. Imports: the room's own modules.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hakobune.engine.containers import mounts, naming, request, rootfs
from hakobune.engine.containers.deps import Deps, Image, now
from hakobune.engine.containers.model import Container, MountPoint
from hakobune.engine.containers.store import check_name
from hakobune.engine.images.model import host_platform
from hakobune.errors import HakoError, InvalidArgument
from hakobune.failpoint import reach


def _choose_runtime(deps: Deps, host: dict[str, Any]) -> None:
    """Put it on record. Raises InvalidArgument for one that is unknown, or cannot do what is asked for."""
    host["Runtime"] = name = deps.runtimes.name_of(host["Runtime"])
    if int((host["Annotations"] or {}).get(request.TIMEOUT, "0")) and not deps.runtimes.of(name).own:
        raise InvalidArgument(
            f"a time limit is kept by Hakobune's own shim, and runtime {name} has another: leave --timeout out"
        )


async def create(deps: Deps, name: str, body: Any, platform: str = "") -> tuple[Container, list[str]]:
    """A new container, and warnings for the client; `platform` is one that the image must have.

    Raises InvalidArgument, NotFound (image), Conflict (name); nothing is left then.
    """
    config, host, endpoints = request.parse(body)
    _choose_runtime(deps, host)
    if name:
        name = check_name(name)
        deps.store.check_free(name)
    image = await deps.images.resolve(config["Image"], platform)
    request.merge_image(config, image.config.get("config") or {})
    identity = secrets.token_hex(32)
    config["Hostname"] = config["Hostname"] or ("" if host["UTSMode"] == "host" else identity[:12])
    _choose_network(host, endpoints)
    host["LogConfig"]["Type"] = host["LogConfig"]["Type"] or deps.log_driver
    points = mounts.parse_all(config, host, lambda other: deps.store.get(other).mounts)
    container = Container(
        id=identity,
        name=name,
        created=now(),
        image=image.id,
        image_name=config["Image"],
        chain=image.chain,
        config=config,
        host=host,
        endpoints=endpoints,
        size=image.size,
    )
    try:
        await _make(deps, container, image, points)
    except BaseException:
        await _unmake(deps, container, points)
        raise
    deps.tell(container, "create")
    return container, _warnings(host) + ([] if platform else _of_another(image))


def _of_another(image: Image) -> list[str]:
    """What Docker says of an image that is for another machine."""
    here, theirs = host_platform()[0], str(image.config.get("architecture") or "")
    system = str(image.config.get("os") or "linux")
    if not theirs or (system, theirs) == ("linux", here):
        return []
    words = (f"The requested image's platform ({system}/{theirs}) does not match the detected host platform",
             f"(linux/{here}) and no specific platform was requested")  # fmt: skip
    return [" ".join(words)]


def _choose_network(host: dict[str, Any], endpoints: dict[str, Any]) -> None:
    mode = host["NetworkMode"] or "default"
    host["NetworkMode"] = "bridge" if mode == "default" else mode
    if host["NetworkMode"] in ("host", "none") and host["PublishAllPorts"]:
        return
    if mode == "host" and host["Dns"] is None:
        raise InvalidArgument("conflicting options: dns and the network mode")
    if "default" in endpoints:
        endpoints["bridge"] = endpoints.pop("default")


def _free_name(deps: Deps) -> str:
    for attempt in range(20):
        name = naming.random_name(random.SystemRandom(), attempt)
        if deps.store.find(name) is None:
            return name
    return secrets.token_hex(8)


async def _make(deps: Deps, container: Container, image: Image, points: Iterable[MountPoint]) -> None:
    os.mkdir(deps.directory(container), 0o710)
    reach("engine.create.directory")
    container.rootfs = await deps.runtime.prepare(container.id, image.chain)
    reach("engine.create.snapshot")
    container.mounts = tuple([await _settle(deps, container, point) for point in points])
    reach("engine.create.volumes")
    container.name = container.name or _free_name(deps)  # nobody can take it between here and the record
    deps.store.add(container)
    reach("engine.create.recorded")


async def _settle(deps: Deps, container: Container, point: MountPoint) -> MountPoint:
    """A mount point with its directory: volumes are made, and filled when they are new."""
    if point.type == "bind":
        if not os.path.lexists(point.source):
            os.makedirs(point.source, mode=0o755)
        return point
    if point.type != "volume":
        return point
    options = _volume_options(container.host, point)
    volume, fresh = deps.volumes.ensure(
        point.name,
        driver=options.get("driver", "") or container.host["VolumeDriver"],
        labels=options.get("labels"),
        options=options.get("options"),
        anonymous=point.anonymous,
        user=container.id,
    )
    if point.copy and not os.listdir(volume.path):
        await asyncio.to_thread(rootfs.copy_up, container.rootfs, point.target, volume.path)
    elif fresh:
        pass
    return replace(point, source=volume.path)


def _volume_options(host: dict[str, Any], point: MountPoint) -> dict[str, Any]:
    for document in host["Mounts"]:
        if document.get("Source") == point.name and document.get("VolumeOptions"):
            given = document["VolumeOptions"]
            driver = given.get("DriverConfig") or {}
            return {
                "labels": given.get("Labels"),
                "driver": driver.get("Name", ""),
                "options": driver.get("Options"),
            }
    return {}


async def _unmake(deps: Deps, container: Container, points: Iterable[MountPoint]) -> None:
    for point in points:  # all that were asked for: it may have ended in the middle of them
        if point.type == "volume":
            with contextlib.suppress(HakoError):
                deps.volumes.release(point.name, container.id)
                if point.anonymous:
                    deps.volumes.remove(point.name)
    try:
        await deps.runtime.discard(container.id)
    except HakoError:
        pass  # the next boot finds a snapshot without a container
    shutil.rmtree(deps.directory(container), ignore_errors=True)


def _warnings(host: dict[str, Any]) -> list[str]:
    found = []
    if host["PortBindings"] and host["NetworkMode"] == "host":
        found.append("Published ports are discarded when using host network mode")
    if host["OomKillDisable"] and not host["Memory"]:
        found.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
        )
    return found
