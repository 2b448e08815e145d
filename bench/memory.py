"""Memory of groups of processes, as the kernel shares it out (PSS): daemons, and what each container costs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path


def processes() -> dict[int, tuple[int, str]]:
    """pid -> (parent, command line) of every process but kernel threads."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            line = (
                Path(f"/proc/{name}/cmdline")
                .read_bytes()
                .replace(b"\0", b" ")
                .decode(errors="replace")
                .strip()
            )
            stat = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            if line:
                found[int(name)] = (int(stat[1]), line)
    return found


def pss_kib(pids: Iterable[int]) -> int:
    """Sum of the proportional set sizes, in KiB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total


def descendants(root: int) -> set[int]:
    """A process and all below it."""
    table = processes()
    found = {root}
    while True:
        more = {pid for pid, (parent, _line) in table.items() if parent in found} - found
        if not more:
            return found
        found |= more
