"""Limits and counters in the files of cgroup v2 (kernel: Documentation/admin-guide/cgroup-v2.rst).

OCI's resources speak v1; what has another scale or meaning is converted here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from hakobune.cgroups import files
from hakobune.cgroups.limits import Limits, integer
from hakobune.errors import FailedPrecondition, InvalidArgument
from hakobune.record import Any

Section = Mapping[str, Any]
_PAGE = 65536


def _most(value: int) -> str | int:
    return "max" if value < 0 else value


def memory(group: Limits, section: Section) -> None:
    """memory.max, memory.low, and swap alone (OCI's number is memory + swap together)."""
    limit, swap = integer(section, "limit"), integer(section, "swap")
    if swap:
        group.must("memory.swap.max", swap_alone(limit or 0, swap))
    if limit and limit > 0 and section.get("checkBeforeUpdate"):
        used = files.number(group.directory + "/memory.current") or 0
        if used > limit:  # the kernel would kill until it fits
            raise FailedPrecondition(f"unable to set memory limit to {limit} (current usage: {used})")
    if limit:
        group.must("memory.max", _most(limit))
        if limit > 0:
            group.check("memory.max", limit, grain=_PAGE)
    if reservation := integer(section, "reservation"):
        group.must("memory.low", _most(reservation))


def swap_alone(limit: int, both: int) -> str | int:
    """OCI's memory+swap -> swap. Raises InvalidArgument when it is below the memory limit."""
    if both < 0:
        return "max"
    if limit < 0 or both < limit:
        raise InvalidArgument(f"memory+swap limit {both} is below the memory limit {limit}")
    return both - limit


def cpu_weight(shares: int) -> int:
    """shares 2..262144 -> weight 1..10000 with 1024 -> 100, as crun and runc convert since 2025.

    The curve is a parabola in the logarithm: a straight line would make the default share 39.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    exponent = math.log2(shares)
    return math.ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def cpu(group: Limits, section: Section) -> None:
    """cpu.weight, cpu.max, burst, idle."""
    if shares := integer(section, "shares"):
        group.must("cpu.weight", cpu_weight(shares))
    quota, period = integer(section, "quota"), integer(section, "period")
    if quota or period:
        group.must("cpu.max", f"{quota if quota and quota > 0 else 'max'} {period or 100000}")
    burst = integer(section, "burst")
    if burst is not None:
        group.may("cpu.max.burst", burst)
    idle = integer(section, "idle")
    if idle is not None:
        group.may("cpu.idle", idle)


def cpuset(group: Limits, section: Section) -> None:
    """cpus and mems as lists (`0-3,8`)."""
    for key, name in (("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")):
        if value := section.get(key):
            group.must(name, value)


def pids(group: Limits, section: Section) -> None:
    """Zero or less means no limit; absent means untouched."""
    limit = integer(section, "limit")
    if limit is not None:
        group.must("pids.max", limit if limit > 0 else "max")


def io_weight(weight: int) -> int:
    """blkio 10..1000 -> io 1..10000."""
    return 1 + (weight - 10) * 9999 // 990


_THROTTLES = (
    ("throttleReadBpsDevice", "rbps"), ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"), ("throttleWriteIOPSDevice", "wiops"),
)  # fmt: skip


def blkio(group: Limits, section: Section) -> None:
    """io.bfq.weight where BFQ runs, else io.weight; throttles in io.max."""
    if weight := integer(section, "weight"):
        if group.has("io.bfq.weight"):
            group.may("io.bfq.weight", weight)
        else:
            group.may("io.weight", io_weight(weight))
    for device in section.get("weightDevice") or ():
        group.may("io.bfq.weight", f"{device['major']}:{device['minor']} {device.get('weight', 0)}")
    for key, word in _THROTTLES:
        for device in section.get(key) or ():
            group.must("io.max", f"{device['major']}:{device['minor']} {word}={device['rate'] or 'max'}")


def hugetlb(group: Limits, section: Sequence[Section]) -> None:
    """`pageSize` is written as the kernel writes it: 2MB, 1GB."""
    for entry in section:
        group.must(f"hugetlb.{entry['pageSize']}.max", entry["limit"])


def raw(group: Limits, section: Mapping[str, str]) -> None:
    """OCI `unified`: file name -> value, written as is. Raises InvalidArgument for a path and for a file that is not there."""
    for name, value in section.items():
        if "/" in name or name.startswith("cgroup."):
            raise InvalidArgument(f"linux.resources.unified: {name!r} is not the name of a limit")
        for line in value.split("\n"):
            if not group.must(name, line):
                group.warnings.pop()
                raise InvalidArgument(f"linux.resources.unified.{name}: this kernel has no such limit")


def rdma(group: Limits, section: Mapping[str, Section]) -> None:
    """rdma.max, the same file on v1 and v2: `device hca_handle=N hca_object=N`."""
    for device, limits in section.items():
        words = [f"{word}={limits[key]}" for key, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))
                 if limits.get(key) is not None]  # fmt: skip
        if words:
            group.must("rdma.max", " ".join((device, *words)))


# OCI controller name -> name in cgroup.controllers, and how to write it
WRITERS: Mapping[str, tuple[str, Callable[[Limits, Any], None]]] = {
    "memory": ("memory", memory),
    "cpu": ("cpu", cpu),
    "cpuset": ("cpuset", cpuset),
    "pids": ("pids", pids),
    "blkio": ("io", blkio),
    "hugetlb": ("hugetlb", hugetlb),
    "rdma": ("rdma", rdma),
}


def enable(mount: str, path: str, controllers: frozenset[str]) -> list[str]:
    """Hand `controllers` down from the mount to the group `path`; returns those that were refused.

    Every group above must list them in cgroup.subtree_control; one that holds processes cannot (EBUSY).
    """
    refused: list[str] = []
    current = mount
    for name in ("", *path.strip("/").split("/")[:-1]):
        current = f"{current}/{name}" if name else current
        given = set(files.read_optional(current + "/cgroup.subtree_control").split())
        for controller in sorted(controllers - given - set(refused)):
            try:
                files.write(current + "/cgroup.subtree_control", "+" + controller)
            except OSError:
                refused.append(controller)
    return refused


# counters ---------------------------------------------------------------------------------------


def _limit(path: str) -> int:
    value = files.number(path)
    return (1 << 64) - 1 if value is None else value


def memory_stats(directory: str) -> dict[str, Any]:
    """Usage and limit of memory and swap, memory.stat, and the event counters."""
    events = files.pairs(directory + "/memory.events")
    return {
        "stat": files.pairs(directory + "/memory.stat"),
        "usage": {
            "usage": files.number(directory + "/memory.current") or 0,
            "max": files.number(directory + "/memory.peak") or 0,
            "failcnt": events.get("max", 0),
            "limit": _limit(directory + "/memory.max"),
        },
        "swap": {
            "usage": files.number(directory + "/memory.swap.current") or 0,
            "max": files.number(directory + "/memory.swap.peak") or 0,
            "failcnt": 0,
            "limit": _limit(directory + "/memory.swap.max"),
        },
        "oom": events,
    }


def cpu_stats(directory: str) -> dict[str, Any]:
    """As v1's cpuacct and cpu together; times in nanoseconds, no per-CPU list."""
    found = files.pairs(directory + "/cpu.stat")
    return {
        "total": found.get("usage_usec", 0) * 1000,
        "user": found.get("user_usec", 0) * 1000,
        "kernel": found.get("system_usec", 0) * 1000,
        "per_cpu": [],
        "periods": found.get("nr_periods", 0),
        "throttled_periods": found.get("nr_throttled", 0),
        "throttled_time": found.get("throttled_usec", 0) * 1000,
    }


_IO = (("rbytes", "Read", "io_service_bytes_recursive"), ("wbytes", "Write", "io_service_bytes_recursive"),
       ("rios", "Read", "io_serviced_recursive"), ("wios", "Write", "io_serviced_recursive"))  # fmt: skip


def blkio_stats(directory: str) -> dict[str, Any]:
    """io.stat in the shape of v1's blkio."""
    found: dict[str, Any] = {"io_service_bytes_recursive": [], "io_serviced_recursive": []}
    for line in files.read_optional(directory + "/io.stat").splitlines():
        device, *words = line.split()
        major, _, minor = device.partition(":")
        if not (major.isdigit() and minor.isdigit()):
            continue
        values = dict(word.split("=", 1) for word in words if "=" in word)
        for name, op, key in _IO:
            if name in values:
                entry = {"major": int(major), "minor": int(minor), "op": op, "value": int(values[name])}
                found[key].append(entry)
    return found
