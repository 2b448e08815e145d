"""GET /containers/{id}/top: the container's processes out of the host's /proc, in the columns of `ps -ef`."""

from __future__ import annotations

import os
import pwd
import time
from typing import Any

from hakobune.engine.containers.deps import Deps
from hakobune.engine.containers.model import Container
from hakobune.errors import Conflict

TITLES = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
_TICKS = os.sysconf("SC_CLK_TCK")


async def top(deps: Deps, container: Container) -> dict[str, Any]:
    """Titles and processes. Raises Conflict when it does not run."""
    if not container.state.running:
        raise Conflict(f"container {container.id} is not running")
    lines = [line for pid in sorted(await deps.runtime.pids(container.id)) if (line := _line(pid))]
    return {"Titles": TITLES, "Processes": lines}


def _line(pid: int) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat") as file:
            head, _, tail = file.read().rpartition(")")
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None  # it has ended
    fields = tail.split()
    started = time.time() - (_uptime() - int(fields[19]) / _TICKS)
    seconds = (int(fields[11]) + int(fields[12])) // _TICKS
    name = (
        b" ".join(word for word in words if word).decode("utf-8", "replace") or f"[{head.partition('(')[2]}]"
    )
    return [
        _user(uid), str(pid), fields[1], "0", time.strftime("%H:%M", time.localtime(started)), _tty(int(fields[4])),
        f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}", name,
    ]  # fmt: skip


def _tty(number: int) -> str:
    major, minor = os.major(number), os.minor(number)
    return f"pts/{minor}" if 136 <= major <= 143 else "?"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _uptime() -> float:
    with open("/proc/uptime") as file:
        return float(file.read().split()[0])
