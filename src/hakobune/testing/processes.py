"""Processes of the machine as /proc shows them: who there is, who descends from whom, and how one is ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

_GONE_SECONDS = 5.0


def pids() -> list[int]:
    """Every process of the machine."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def command_lines() -> list[tuple[int, str]]:
    """(pid, arguments joined by blanks) of each process that has a command line."""
    found = []
    for pid in pids():
        with contextlib.suppress(OSError):
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
            if raw:
                found.append((pid, raw.replace(b"\0", b" ").decode(errors="replace").strip()))
    return found


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


def kill_and_wait(pid: int) -> None:
    """SIGKILL by pidfd and wait until the process is gone; silent when it is already."""
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            gone = select.poll()
            gone.register(handle, select.POLLIN)
            gone.poll(_GONE_SECONDS * 1000)
        finally:
            os.close(handle)


def end(process: subprocess.Popen[bytes], seconds: float = 20.0) -> None:
    """SIGTERM, then SIGKILL when it takes longer."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
