"""process.scheduler, ioPriority and execCPUAffinity, linux.personality and memoryPolicy: read and made ready in the host, by the worker.

What comes out is a function that init or an exec calls when it owns its capabilities still. Source: runtime-spec, config.md and config-linux.md. Imports: os; linux.scheduling.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from hakobune.errors import InvalidArgument
from hakobune.linux import scheduling
from hakobune.record import Any

_POLICIES = {
    name: number for number, name in enumerate(("OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE"))
}
_FLAGS = {"RESET_ON_FORK": 1, "RECLAIM": 2, "DL_OVERRUN": 4, "KEEP_POLICY": 8, "KEEP_PARAMS": 16, "UTIL_CLAMP_MIN": 32,
          "UTIL_CLAMP_MAX": 64}  # fmt: skip
_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_DOMAINS = {"LINUX": 0, "LINUX32": 8}  # <linux/personality.h>
# <linux/mempolicy.h>
MEMORY_MODES = {"MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
                "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6}  # fmt: skip
MEMORY_FLAGS = {
    "MPOL_F_STATIC_NODES": 1 << 15,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}
_MOST_PROCESSORS, _MOST_NODES = 8191, 1023
Act = Callable[[], None]


def prepared(document: Mapping[str, Any], linux: Mapping[str, Any]) -> Act | None:
    """From the raw `process` and `linux`: what to call; None for nothing. Raises InvalidArgument."""
    found = [
        act
        for act in (
            _scheduler(document.get("scheduler")), _priority(document.get("ioPriority")),
            _affinity(document, "final"), _personality(linux.get("personality")), _memory(linux.get("memoryPolicy")),
        )
        if act is not None
    ]  # fmt: skip
    if not found:
        return None

    def act() -> None:
        for one in found:
            one()

    return act


def first_affinity(document: Mapping[str, Any]) -> Act | None:
    """For an exec, before it is in the container's control group. Raises InvalidArgument."""
    return _affinity(document, "initial")


def _object(value: Any, at: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidArgument(f"{at}: expected an object, got {value!r:.60}")
    return value


def _number(table: Mapping[str, Any], name: str, at: str, least: int, most: int) -> int:
    value = table.get(name, 0)
    if type(value) is not int or not least <= value <= most:
        raise InvalidArgument(f"{at}.{name}: {value!r:.60} is not a number from {least} to {most}")
    return value


def _scheduler(given: Any) -> Act | None:
    if given is None:
        return None
    at = "process.scheduler"
    table = _object(given, at)
    policy = str(table.get("policy", "")).removeprefix("SCHED_")
    if policy not in _POLICIES:
        raise InvalidArgument(f"{at}.policy: {table.get('policy')!r:.60} is not a scheduling policy")
    flags = 0
    for index, name in enumerate(table.get("flags") or ()):
        word = str(name).removeprefix("SCHED_FLAG_")
        if word not in _FLAGS:
            raise InvalidArgument(f"{at}.flags[{index}]: {name!r:.60} is not a flag of sched_setattr(2)")
        flags |= _FLAGS[word]
    nice = _number(table, "nice", at, -20, 19)
    priority = _number(table, "priority", at, 0, 99)
    times = [_number(table, name, at, 0, (1 << 63) - 1) for name in ("runtime", "deadline", "period")]
    return _told(at, lambda: scheduling.setattr(_POLICIES[policy], flags, nice, priority, *times))


def _priority(given: Any) -> Act | None:
    if given is None:
        return None
    at = "process.ioPriority"
    table = _object(given, at)
    if table.get("class") not in _CLASSES:
        raise InvalidArgument(f"{at}.class: {table.get('class')!r:.60} is not one of {', '.join(_CLASSES)}")
    level = _number(table, "priority", at, 0, 7)
    return _told(at, lambda: scheduling.ioprio(_CLASSES[table["class"]], level))


def _affinity(document: Mapping[str, Any], which: str) -> Act | None:
    table = document.get("execCPUAffinity")
    if table is None:
        return None
    at = f"process.execCPUAffinity.{which}"
    text = _object(table, "process.execCPUAffinity").get(which)
    if not text:
        return None
    processors = _numbers(str(text), at, _MOST_PROCESSORS, "processors")
    return _told(at, lambda: os.sched_setaffinity(0, processors))


def _numbers(text: str, at: str, most: int, what: str) -> frozenset[int]:
    """`0-3,7`: as cpuset's lists are written."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or int(last or first) > most:
            raise InvalidArgument(f"{at}: {text!r:.60} is not a list of {what}")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _personality(table: Mapping[str, Any] | None) -> Act | None:
    if table is None:
        return None
    domain = table.get("domain")
    if domain not in _DOMAINS:
        raise InvalidArgument(f"linux.personality.domain: {domain!r:.60} is not LINUX or LINUX32")
    if table.get("flags"):
        raise InvalidArgument(f"linux.personality.flags: none is known, got {table['flags']!r:.60}")
    return _told("linux.personality", lambda: scheduling.personality(_DOMAINS[str(domain)]))


def _memory(table: Mapping[str, Any] | None) -> Act | None:
    if table is None:
        return None
    at = "linux.memoryPolicy"
    mode = str(table.get("mode"))
    if mode not in MEMORY_MODES:
        raise InvalidArgument(f"{at}.mode: {mode!r:.60} is not one of {', '.join(MEMORY_MODES)}")
    number = MEMORY_MODES[mode]
    for index, name in enumerate(table.get("flags") or ()):
        if name not in MEMORY_FLAGS:
            raise InvalidArgument(
                f"{at}.flags[{index}]: {name!r:.60} is not one of {', '.join(MEMORY_FLAGS)}"
            )
        number |= MEMORY_FLAGS[name]
    text = table.get("nodes")
    nodes = _numbers(str(text), f"{at}.nodes", _MOST_NODES, "memory nodes") if text else frozenset[int]()
    return _told(at, lambda: scheduling.mempolicy(number, nodes))


def _told(at: str, act: Act) -> Act:
    """With the field's name in what the kernel refuses."""

    def tell() -> None:
        try:
            act()
        except OSError as err:
            raise OSError(err.errno, f"{at}: {(err.strerror or '').lower()}") from err

    return tell
