"""`system upgrade`."""

from __future__ import annotations

from .command import Command, Context
from .failure import Failure
from .flags import Values
from .http import query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _upgrade(context: Context, values: Values, arguments: list[str]) -> int:
    path = "/hako/upgrade" + query(python=values.text("python") or None)
    failed, whole = 0, False
    for line in context.client.open("POST", path).lines():
        if "process" in line:
            failed += bool(line.get("error"))
            context.say(_process(line))
        elif "containers" in line:
            whole = True
            count, untouched = line["containers"], line["untouched"]
            context.say(f"{count} containers were running, {untouched} of them untouched")
            failed += count != untouched
    if not whole:
        raise Failure(
            "the engine went away in the middle of the upgrade; `hako version` says whether it is back"
        )
    return 1 if failed else 0


def _process(line: Any) -> str:
    name = " ".join(word for word in (line["process"], (line.get("id") or "")[:12]) if word)
    if line.get("error"):
        return f"{name}: goes on as it was: {line['error']}"
    note = f" ({line['note']})" if line.get("note") else ""
    return f"{name}: {line['previous']} -> {line['release']}{note}"


COMMANDS = {
    "upgrade": Command(
        "system upgrade [OPTIONS]",
        """Have the engine, the manager, the zygote and every shim go on as the code that is installed now.

Containers run on: their processes, streams, logs and clients are not touched. Nothing is installed.
The new code is checked before anything changes; what cannot go on as the new code goes on as it was.""",
        _upgrade,
        flags="""
    --python string  Interpreter of another installation, as the engine sees it (default: the engine's own)
""",
    )
}
