"""Aligned tables with the spacing of Docker's: cells three blanks apart, at least ten wide, nothing ruled."""

from __future__ import annotations

from collections.abc import Sequence

_LEAST = 10
_PADDING = 3


def align(rows: Sequence[Sequence[str]], *, least: int = _LEAST, padding: int = _PADDING) -> list[str]:
    """The lines; every row has the same number of cells, the last one is not padded."""
    if not rows:
        return []
    count = max(len(row) for row in rows)
    widths = [
        max(least, max((len(row[n]) for row in rows if n < len(row) - 1), default=0) + padding)
        for n in range(count)
    ]
    return [
        "".join(cell.ljust(widths[n]) for n, cell in enumerate(row[:-1])) + row[-1] if row else ""
        for row in rows
    ]


def ellipsis(text: str, most: int) -> str:
    """Cut to `most` characters, the last of them `…` when something is missing."""
    return text if len(text) <= most else text[: most - 1] + "…"


def short_id(identity: str) -> str:
    """Twelve digits, without the algorithm in front."""
    return identity.rpartition(":")[2][:12]
