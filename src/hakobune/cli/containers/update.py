"""`update`: limits and restart policy of containers that exist, running or not."""

from __future__ import annotations

from ..command import Command, Context, each
from ..failure import Failure
from ..flags import Values
from .limits import restart
from .names import path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIZES = {"memory": "Memory", "memory-reservation": "MemoryReservation", "memory-swap": "MemorySwap"}
_NUMBERS = {"blkio-weight": "BlkioWeight", "cpu-period": "CpuPeriod", "cpu-quota": "CpuQuota",
            "cpu-shares": "CpuShares", "pids-limit": "PidsLimit"}  # fmt: skip
_TEXTS = {"cpuset-cpus": "CpusetCpus", "cpuset-mems": "CpusetMems"}


def _update(context: Context, values: Values, arguments: list[str]) -> int:
    body: dict[str, Any] = {key: values.size(flag) for flag, key in _SIZES.items() if values.given(flag)}
    body |= {key: values.whole(flag) for flag, key in _NUMBERS.items() if values.given(flag)}
    body |= {key: values.text(flag) for flag, key in _TEXTS.items() if values.given(flag)}
    if values.given("cpus"):
        body["NanoCpus"] = values.billionths("cpus")
    if values.given("restart"):
        body["RestartPolicy"] = restart(values.text("restart"))
    if not body:
        raise Failure("you must provide one or more flags when using this command")

    def act(name: str) -> str:
        answer = context.client.post(path(name, "/update"), body) or {}
        context.warn(*(answer.get("Warnings") or []))
        return name

    return each(context, arguments, act)


COMMANDS = {
    "update": Command(
        "update [OPTIONS] CONTAINER [CONTAINER...]",
        "Change limits and restart policy, also of containers that run.",
        _update,
        flags="""
    --blkio-weight int          Share of block I/O, 10 to 1000
    --cpu-period int            Length of a CPU quota's period in microseconds
    --cpu-quota int             Microseconds of CPU time per period
-c, --cpu-shares int            Share of CPU time, relative to others
    --cpus decimal              Number of CPUs, fractions allowed
    --cpuset-cpus string        Run on these CPUs only
    --cpuset-mems string        Use memory of these nodes only
-m, --memory bytes              Most memory
    --memory-reservation bytes  Memory to keep when the machine runs short
    --memory-swap bytes         Most memory and swap together
    --pids-limit int            Most processes and threads
    --restart string            When it ends: no, on-failure[:N], always, unless-stopped
""",
        least=1,
        most=None,
    )
}
