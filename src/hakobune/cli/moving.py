"""Progress of a pull or push: on a terminal a line for each layer that is written again, elsewhere each state once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from .failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WIDTH = 50


def show(events: Iterable[Any], say: Callable[..., None], *, live: bool) -> list[Any]:
    """Print what the engine says through `say`; its `aux` documents. Raises Failure with the engine's words.

    `live`: what `say` prints goes to standard output, where lines may be written again if it is a terminal.
    """
    board = Board() if live and sys.stdout.isatty() else None
    extra = []
    for event in events:
        if event.get("error"):
            raise Failure(f"Error response from daemon: {event['error']}")
        if event.get("aux"):
            extra.append(event["aux"])
        elif event.get("status") and board is not None and event.get("id") and "progressDetail" in event:
            board.show(event)
        elif event.get("status") and not event.get("progressDetail"):
            say(f"{event['id']}: {event['status']}" if event.get("id") else event["status"])
            if board is not None:
                board.below()
    return extra


class Board:
    """Lines at the end of the terminal, by id."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._count = 0

    def show(self, event: Any) -> None:
        """Write the line of this id anew."""
        name = event["id"]
        if name not in self._rows:
            self._rows[name] = self._count
            self._count += 1
            sys.stdout.write("\n")
        up = self._count - self._rows[name]
        detail = event.get("progressDetail") or {}
        text = f"{name}: {event['status']} {bar(detail.get('current', 0), detail.get('total', 0)) if detail else ''}"
        sys.stdout.write(f"\x1b[{up}A\r\x1b[2K{text.rstrip()}\r\x1b[{up}B")
        sys.stdout.flush()

    def below(self) -> None:
        """Something else was printed: the lines before it stay as they are."""
        self._rows.clear()
        self._count = 0


def bar(current: int, total: int) -> str:
    """`[====>   ]  1.2MB/3.4MB`."""
    from .units import human_size

    if total <= 0:
        return human_size(current, digits=4)
    done = min(_WIDTH * current // total, _WIDTH)
    arrow = ("=" * done + ">")[:_WIDTH]
    return f"[{arrow:<{_WIDTH}}] {human_size(current, digits=4):>8}/{human_size(total, digits=4)}"
