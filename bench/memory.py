"""Memory of groups of processes, as the kernel shares it out among those who use it (PSS)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path


def pids() -> list[int]:
    """Every process of the machine."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def pss_kib(processes: Iterable[int]) -> int:
    """Sum of the proportional set sizes in KiB; a process that has ended counts nothing."""
    total = 0
    for pid in processes:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total


def descendants(roots: Iterable[int]) -> set[int]:
    """Some processes and all that are below them."""
    parents = {}
    for pid in pids():
        with contextlib.suppress(OSError):
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found
