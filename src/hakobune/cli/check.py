"""`system check`: the engine's store looked over, and mended."""

from __future__ import annotations

from .command import Command, Context
from .failure import Failure
from .flags import Values
from .http import query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _check(context: Context, values: Values, _arguments: list[str]) -> int:
    repair = values.on("repair")
    end: Any = None
    for one in context.client.open(
        "POST",
        "/hako/check" + query(repair=repair, older=values.whole("older") if values.given("older") else None),
    ).lines():
        if one.get("error"):
            raise Failure(f"Error response from daemon: {one['error']}")
        if "findings" in one:
            end = one
        elif "note" in one:
            context.warn(one["note"])
        else:
            context.say(_finding(one))
    if end is None:
        raise Failure("the engine went away in the middle of the check")
    if not end["findings"]:
        context.say("everything fits together")
    elif not repair:
        context.say(f"{end['findings']} found; --repair mends what can be mended")
    else:
        context.say(f"{end['findings']} found, {end['findings'] - end['left']} mended")
    return 1 if end["left"] else 0


def _finding(one: Any) -> str:
    what = f"{one['kind']} {one['name']}: {one['problem']}"
    if one["detail"]:
        what += f" ({one['detail']})"
    return what + (f": {one['done']}" if one["done"] else f": {one['why']}" if one["why"] else "")


COMMANDS = {
    "check": Command(
        "system check [OPTIONS]",
        """Look for what a crash, a full disk or a hand in the engine's directories broke.

Every blob is read and compared with its digest, every layer with its blob: that takes as long as reading all images.
With --repair layers are unpacked again, blobs that are damaged are pulled again by their digests, or forgotten so that
the next pull or load brings them, and what belongs to nothing is removed. Nothing that is in use is touched. The exit code is 1 when something is left.""",
        _check,
        flags="""
    --older int  Leave alone what belongs to nothing and is younger than so many seconds (default 60)
    --repair     Mend what is found
""",
    )
}
