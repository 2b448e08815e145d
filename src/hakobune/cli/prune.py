"""`prune` for every noun: ask, remove, list what is gone and what it gave back."""

from __future__ import annotations

from .command import Command, Context
from .failure import Failure
from .filters import filters
from .flags import Values
from .http import query
from .question import sure
from .units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORCE = "-f, --force  Do not ask\n    --filter filter  Only those that match (until=24h, label=a=b)\n"


def prune(context: Context, path: str, values: Values, more: dict[str, list[str]] | None = None) -> Any:
    """One request; returns the engine's answer."""
    wanted = filters(values.many("filter")) or {}
    for key, items in (more or {}).items():
        wanted.setdefault(key, {}).update(dict.fromkeys(items, True))
    return context.client.post(f"{path}/prune" + query(filters=wanted or None)) or {}


def may(context: Context, values: Values, warning: str) -> None:
    """Ask unless told not to. Raises Failure when the answer is no."""
    if not values.on("force") and not sure(context, f"WARNING! {warning}"):
        raise Failure("")


def report(context: Context, title: str, lines: list[str]) -> None:
    """What is gone, under its heading; nothing for nothing."""
    if lines:
        context.say(title, *lines, "")


def image_lines(answer: Any) -> list[str]:
    """`untagged: NAME` and `deleted: ID`."""
    return [
        f"untagged: {item['Untagged']}" if item.get("Untagged") else f"deleted: {item['Deleted']}"
        for item in answer.get("ImagesDeleted") or []
    ]


def space(context: Context, size: float) -> None:
    """The last line."""
    context.say(f"Total reclaimed space: {human_size(size)}")


def _system(context: Context, values: Values, arguments: list[str]) -> int:
    everything, volumes = values.on("all"), values.on("volumes")
    parts = ["all stopped containers", "all networks not used by at least one container"]
    parts += ["all anonymous volumes not used by at least one container"] if volumes else []
    parts += [
        "all images without at least one container associated to them"
        if everything
        else "all dangling images"
    ]
    may(context, values, "This will remove:\n" + "\n".join(f"  - {part}" for part in parts) + "\n")
    answer = prune(context, "/containers", values)
    size = answer.get("SpaceReclaimed") or 0
    report(context, "Deleted Containers:", answer.get("ContainersDeleted") or [])
    report(context, "Deleted Networks:", prune(context, "/networks", values).get("NetworksDeleted") or [])
    if volumes:
        answer = prune(context, "/volumes", values)
        size += answer.get("SpaceReclaimed") or 0
        report(context, "Deleted Volumes:", answer.get("VolumesDeleted") or [])
    answer = prune(context, "/images", values, {"dangling": ["false" if everything else "true"]})
    report(context, "Deleted Images:", image_lines(answer))
    space(context, size + (answer.get("SpaceReclaimed") or 0))
    return 0


COMMANDS = {
    "system prune": Command(
        "system prune [OPTIONS]",
        "Remove stopped containers, unused networks and dangling images.",
        _system,
        flags="-a, --all  Also images that no container uses\n    --volumes  Also volumes that no container uses\n"
        + FORCE,
    )
}
