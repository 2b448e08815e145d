"""`system df`: what the engine keeps on disk, and how much of it nothing needs."""

from __future__ import annotations

from .columns import align, ellipsis, short_id
from .command import Command, Context
from .flags import Values
from .records import Row, show
from .units import ago, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEADERS = {"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE",
            "Reclaimable": "RECLAIMABLE"}  # fmt: skip
_RUNNING = ("running", "paused", "restarting")


def _df(context: Context, values: Values, arguments: list[str]) -> int:
    usage = context.client.get("/system/df")
    if values.on("verbose") and not values.text("format"):
        _details(context, usage)
        return 0
    rows = [_images(usage), _containers(usage), _volumes(usage), _cache(usage)]
    show(context, rows, headers=_HEADERS, columns=list(_HEADERS), form=values.text("format"))
    return 0


def _row(kind: str, total: int, active: int, size: float, unused: float) -> Row:
    share = f" ({int(unused * 100 / size)}%)" if size > 0 and kind != "Build Cache" else ""
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": human_size(size),
        "Reclaimable": human_size(unused) + share,
    }


def _images(usage: Any) -> Row:
    images, size = usage.get("Images") or [], usage.get("LayersSize") or 0
    used = [image for image in images if image.get("Containers", 0) > 0]
    kept = sum(
        image["Size"] - image["SharedSize"]
        for image in images
        if image.get("Containers") != 0 and image.get("SharedSize", -1) != -1
    )
    return _row("Images", len(images), len(used), size, max(size - kept, 0))


def _containers(usage: Any) -> Row:
    containers = usage.get("Containers") or []
    sizes = [(item.get("State") in _RUNNING, item.get("SizeRw") or 0) for item in containers]
    unused = sum(size for running, size in sizes if not running)
    return _row("Containers", len(sizes), sum(r for r, _ in sizes), sum(s for _, s in sizes), unused)


def _volumes(usage: Any) -> Row:
    data = [item.get("UsageData") or {} for item in usage.get("Volumes") or []]
    known = [(item.get("RefCount", 0), max(item.get("Size", 0), 0)) for item in data]
    unused = sum(size for count, size in known if count == 0)
    return _row("Local Volumes", len(data), sum(c > 0 for c, _ in known), sum(s for _, s in known), unused)


def _cache(usage: Any) -> Row:
    records = usage.get("BuildCache") or []
    size = sum(item["Size"] for item in records if not item.get("Shared"))
    unused = sum(item["Size"] for item in records if not item.get("Shared") and not item.get("InUse"))
    return _row("Build Cache", len(records), sum(bool(item.get("InUse")) for item in records), size, unused)


def _details(context: Context, usage: Any) -> None:
    images = [["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE",
               "CONTAINERS"]]  # fmt: skip
    for image in usage.get("Images") or []:
        name, _, tag = ((image.get("RepoTags") or ["<none>:<none>"])[0]).rpartition(":")
        shared = max(image.get("SharedSize", 0), 0)
        sizes = [human_size(image["Size"], digits=3), human_size(shared), human_size(image["Size"] - shared)]
        count = str(max(image.get("Containers", 0), 0))
        images.append([name, tag, short_id(image["Id"]), ago(image["Created"]), *sizes, count])
    containers = [["CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"]]
    for item in usage.get("Containers") or []:
        size, command = human_size(item.get("SizeRw") or 0, digits=3), ellipsis(item.get("Command") or "", 20)
        names = ",".join(name.removeprefix("/") for name in item.get("Names") or [])
        row = [
            short_id(item["Id"]),
            item["Image"],
            f'"{command}"',
            volumes_of(item),
            size,
            ago(item["Created"]),
        ]
        containers.append([*row, item["Status"], names])
    volumes = [["VOLUME NAME", "LINKS", "SIZE"]]
    for item in usage.get("Volumes") or []:
        data = item.get("UsageData") or {}
        volumes.append([item["Name"], str(data.get("RefCount", 0)), human_size(data.get("Size", 0))])
    for title, rows in (("Images", images), ("Containers", containers), ("Local Volumes", volumes)):
        context.say(f"{title} space usage:\n", *align(rows), "")


def volumes_of(container: Any) -> str:
    """How many of its mounts are volumes of this machine."""
    return str(sum(mount.get("Driver") == "local" for mount in container.get("Mounts") or ()))


COMMANDS = {
    "df": Command(
        "system df [OPTIONS]",
        "Show what images, containers and volumes take on disk.",
        _df,
        flags="""
    --format string  table, json, a template ({{.Type}}), or "table TEMPLATE"
-v, --verbose        Show each thing
""",
    )
}
