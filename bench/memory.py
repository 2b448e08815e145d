"""Memory of groups of processes, as the kernel shares it out among those who use it (PSS)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path


def pss_kib(processes: Iterable[int]) -> int:
    """Sum of the proportional set sizes in KiB; a process that has ended counts nothing."""
    total = 0
    for pid in processes:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total
