"""`container prune`."""

from __future__ import annotations

from ..command import Command, Context
from ..flags import Values
from ..prune import FORCE, may, prune, report, space


def _prune(context: Context, values: Values, arguments: list[str]) -> int:
    may(context, values, "This will remove all stopped containers.")
    answer = prune(context, "/containers", values)
    report(context, "Deleted Containers:", answer.get("ContainersDeleted") or [])
    space(context, answer.get("SpaceReclaimed") or 0)
    return 0


COMMANDS = {
    "prune": Command(
        "container prune [OPTIONS]", "Remove all containers that do not run.", _prune, flags=FORCE
    )
}
