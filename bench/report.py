"""What is printed and kept: one line per figure, each engine's median, ours as a ratio of each peer's, the aim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OURS = "hakobune"

# found[case][engine][figure]
Found = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class Row:
    """A figure that is shown. `aim`: what is wanted of ours, for people; never a test."""

    case: str
    figure: str
    label: str
    unit: str
    aim: str = ""


ROWS = (
    Row("none", "create", "no network: create", "ms"),
    Row("none", "start", "no network: start", "ms"),
    Row("none", "run", "no network: create+start+wait", "ms", "≤ 0.15 × dockerd"),
    Row("none", "rm", "rm", "ms"),
    Row("bridge", "start", "bridge: start", "ms"),
    Row("bridge", "run", "bridge: create+start+wait", "ms", "≤ 0.18 × dockerd"),
    Row("exec", "exec", "exec", "ms", "≤ 0.25 × dockerd"),
    Row("stop", "stop", "stop, time-out 0", "ms"),
    Row("crowd", "per_s", "many containers, 8 clients", "/s", "≥ 6 × dockerd"),
    Row("crowd", "helper_kib", "helpers per container (PSS)", "KiB", "≤ 1638 KiB"),
    Row("crowd", "daemons_idle_mib", "daemons, no container (PSS)", "MiB", "≤ 1 × dockerd"),
    Row("crowd", "daemons_busy_mib", "daemons, all running (PSS)", "MiB", "≤ 1 × dockerd"),
)
PICTURED = ("run", "exec", "per_s", "helper_kib", "daemons_busy_mib")


def engines(found: Found) -> list[str]:
    """Names of the engines that have any figure, ours first."""
    names = dict.fromkeys(name for figures in found.values() for name in figures)
    return sorted(names, key=lambda name: name != OURS)


def rows(found: Found) -> list[tuple[Row, dict[str, float]]]:
    """Each row that has figures, with the figure of each engine."""
    shown = []
    for row in ROWS:
        figures = {name: of[row.figure] for name, of in found.get(row.case, {}).items() if row.figure in of}
        if figures:
            shown.append((row, figures))
    return shown


def table(found: Found) -> str:
    """The table as text."""
    names = engines(found)
    peers = [name for name in names if name != OURS] if OURS in names else []
    lines = [["", *names, *(f"ours/{name}" for name in peers), "aim" if peers else ""]]
    for row, figures in rows(found):
        cells = [f"{figures[name]:.1f}" if name in figures else "–" for name in names]
        lines.append(
            [f"{row.label} [{row.unit}]", *cells, *(_ratio(figures, peer) for peer in peers), row.aim]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, len(widths) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _ratio(figures: Mapping[str, float], peer: str) -> str:
    if OURS not in figures or not figures.get(peer):
        return "–"
    return f"{figures[OURS] / figures[peer]:.2f}"
