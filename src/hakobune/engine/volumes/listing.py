"""Which volumes are wanted, how much they hold, and which may go."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from hakobune.engine.schema.filters import Filters
from hakobune.engine.volumes.model import DRIVER, Volume
from hakobune.engine.volumes.volumes import Volumes
from hakobune.engine.volumes.volumes import size as size_of

_LIST_FILTERS = ("dangling", "driver", "label", "name")
_PRUNE_FILTERS = ("all", "label", "label!")


def listing(volumes: Volumes, filters: Filters) -> list[Volume]:
    """In the order of their names. Raises InvalidArgument for filters that are none."""
    filters.check(_LIST_FILTERS)
    dangling = filters.bool("dangling", False) if "dangling" in filters else None
    return sorted(
        (one for one in volumes if _wanted(volumes, one, filters, dangling)), key=lambda one: one.name
    )


def _wanted(volumes: Volumes, volume: Volume, filters: Filters, dangling: bool | None) -> bool:
    if dangling is not None and dangling == bool(volumes.users(volume.name)):
        return False
    names = filters.get("name")
    if names and not any(_fits(name, volume.name) for name in names):
        return False
    return filters.any_of("driver", [DRIVER]) and filters.labels(volume.labels)


def _fits(wanted: str, name: str) -> bool:
    """A part of the name, or a pattern."""
    try:
        return wanted in name or re.search(wanted, name) is not None
    except re.error:
        return False


async def prune(volumes: Volumes, filters: Filters) -> dict[str, Any]:
    """Remove what no container uses: volumes without a name of their own, with `all` the others too."""
    filters.check(_PRUNE_FILTERS)
    everything = filters.bool("all", False)
    gone: list[str] = []
    space = 0
    for volume in list(volumes):
        if not (everything or volume.anonymous) or volumes.users(volume.name):
            continue
        if not filters.labels(volume.labels) or _unwanted(volume, filters):
            continue
        size = await asyncio.to_thread(size_of, volume.mountpoint)
        if not volumes.users(volume.name) and volume.name in {one.name for one in volumes}:
            volumes.remove(volume.name)
            gone.append(volume.name)
            space += size
    await volumes.emptied()
    return {"VolumesDeleted": gone or None, "SpaceReclaimed": space}


def _unwanted(volume: Volume, filters: Filters) -> bool:
    """Whether `label!` keeps it."""
    return any(Filters({"label": (one,)}).labels(volume.labels) for one in filters.get("label!"))
