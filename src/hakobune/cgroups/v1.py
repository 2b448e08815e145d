"""Limits and counters in the files of cgroup v1 (kernel: Documentation/admin-guide/cgroup-v1/).

One function per controller; each takes the OCI section (config-linux.md) and a `Limits`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence

from hakobune.cgroups import devices as device_rules
from hakobune.cgroups import files
from hakobune.cgroups.limits import Limits, integer, refusal
from hakobune.cgroups.v2 import rdma
from hakobune.errors import FailedPrecondition
from hakobune.record import Any

Section = Mapping[str, Any]
_PAGE = 65536  # the largest page size: memory limits are rounded down to pages
_NO_LIMIT = 1 << 62  # v1 writes "unlimited" as the largest page-aligned number


def memory(group: Limits, section: Section) -> None:
    """limit, swap (memory + swap together), reservation, swappiness, OOM killer off."""
    limit, swap = integer(section, "limit"), integer(section, "swap")
    if limit == -1 and swap is None:
        swap = -1
    _limit_and_swap(group, limit or None, swap or None)
    if reservation := integer(section, "reservation"):
        group.must("memory.soft_limit_in_bytes", reservation)
    if kernel := integer(section, "kernelTCP"):
        group.may("memory.kmem.tcp.limit_in_bytes", kernel)
    swappiness = integer(section, "swappiness")
    if swappiness is not None and 0 <= swappiness <= 100:
        group.may("memory.swappiness", swappiness)
    if section.get("disableOOMKiller"):
        group.must("memory.oom_control", 1)


def _limit_and_swap(group: Limits, limit: int | None, swap: int | None) -> None:
    """memory <= memory+swap holds at every moment, so the order depends on the direction."""
    if swap is not None and not group.has("memory.memsw.limit_in_bytes"):
        if swap != -1:
            group.warnings.append("this kernel has no swap accounting: swap limit discarded")
        swap = None
    if limit is None or swap is None:
        if limit is not None:
            _set_limit(group, limit)
        if swap is not None:
            group.must("memory.memsw.limit_in_bytes", swap)
        return
    current = files.number(group.directory + "/memory.limit_in_bytes") or 0
    if swap == -1 or current < swap:
        group.must("memory.memsw.limit_in_bytes", swap)
        _set_limit(group, limit)
    else:
        _set_limit(group, limit)
        group.must("memory.memsw.limit_in_bytes", swap)


def _set_limit(group: Limits, limit: int) -> None:
    path = group.directory + "/memory.limit_in_bytes"
    try:
        files.write(path, str(limit))
    except OSError as err:
        if err.errno != errno.EBUSY:
            raise refusal(err, path, str(limit)) from err
        usage = files.number(group.directory + "/memory.usage_in_bytes")
        raise FailedPrecondition(f"unable to set memory limit to {limit} (current usage: {usage})") from err
    if limit > 0:
        group.check("memory.limit_in_bytes", limit, grain=_PAGE)


def cpu(group: Limits, section: Section) -> None:
    """shares, period and quota, burst, real time, idle."""
    if shares := integer(section, "shares"):
        group.must("cpu.shares", shares)
    if period := integer(section, "realtimePeriod"):
        group.must("cpu.rt_period_us", period)
    if runtime := integer(section, "realtimeRuntime"):
        group.must("cpu.rt_runtime_us", runtime)
    _bandwidth(group, integer(section, "period"), integer(section, "quota"))
    burst = integer(section, "burst")
    if burst is not None:
        group.may("cpu.cfs_burst_us", burst)
    idle = integer(section, "idle")
    if idle is not None:
        group.may("cpu.idle", idle)


def _bandwidth(group: Limits, period: int | None, quota: int | None) -> None:
    """A period too short for the old quota is refused until the new quota is there: try both orders."""
    late = False
    if period:
        try:
            files.write(group.directory + "/cpu.cfs_period_us", str(period))
        except OSError as err:
            if err.errno != errno.EINVAL or not quota:
                group.must("cpu.cfs_period_us", period)
            late = True
    if quota:
        group.must("cpu.cfs_quota_us", quota)
        if late and period:
            group.must("cpu.cfs_period_us", period)


def cpuset(group: Limits, section: Section) -> None:
    """cpus and mems as lists (`0-3,8`)."""
    for key, name in (("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")):
        if value := section.get(key):
            group.must(name, value)


def pids(group: Limits, section: Section) -> None:
    """Zero or less means no limit; absent means untouched."""
    limit = integer(section, "limit")
    if limit is None:
        return
    group.must("pids.max", limit if limit > 0 else "max")
    if limit > 0:
        group.check("pids.max", limit)


_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
)


def blkio(group: Limits, section: Section) -> None:
    """Weights (CFQ's file, else BFQ's) and per-device throttles."""
    if weight := integer(section, "weight"):
        group.may("blkio.weight" if group.has("blkio.weight") else "blkio.bfq.weight", weight)
    if leaf := integer(section, "leafWeight"):
        group.may("blkio.leaf_weight", leaf)
    for device in section.get("weightDevice") or ():
        name = "blkio.weight_device" if group.has("blkio.weight_device") else "blkio.bfq.weight_device"
        group.may(name, f"{device['major']}:{device['minor']} {device.get('weight', 0)}")
    for key, name in _THROTTLES:
        for device in section.get(key) or ():
            group.must(name, f"{device['major']}:{device['minor']} {device['rate']}")


def hugetlb(group: Limits, section: Sequence[Section]) -> None:
    """`pageSize` is written as the kernel writes it: 2MB, 1GB."""
    for entry in section:
        group.must(f"hugetlb.{entry['pageSize']}.limit_in_bytes", entry["limit"])


def net_cls(group: Limits, section: Section) -> None:
    """The class id that packets of this group carry."""
    if class_id := integer(section, "classID"):
        group.may("net_cls.classid", class_id)


def net_prio(group: Limits, section: Section) -> None:
    """Priority per interface."""
    for entry in section.get("priorities") or ():
        group.may("net_prio.ifpriomap", f"{entry['name']} {entry['priority']}")


def devices(group: Limits, rules: Iterable[Section]) -> None:
    """Rules in order; later ones win, because the kernel edits one list of exceptions."""
    for verb, line in device_rules.lines(rules):
        group.must("devices." + verb, line)


WRITERS: Mapping[str, Callable[[Limits, Any], None]] = {
    "memory": memory, "cpu": cpu, "cpuset": cpuset, "pids": pids, "blkio": blkio,
    "hugetlb": hugetlb, "net_cls": net_cls, "net_prio": net_prio, "devices": devices, "rdma": rdma,
}  # fmt: skip


def inherit_cpuset(mount: str, path: str) -> None:
    """Copy cpus and mems down from the mount to `path`: an empty cpuset takes no task.

    The parents are left with `cgroup.clone_children`, so that the next child is born filled. Raises OSError.
    """
    parent, current = mount, mount
    for name in path.strip("/").split("/"):
        current = f"{current}/{name}"
        for knob in ("/cpuset.cpus", "/cpuset.mems"):
            if not files.read(current + knob):
                files.write(current + knob, files.read(parent + knob))
        parent = current
    above = current.rpartition("/")[0]
    if above != mount:
        files.write(above + "/cgroup.clone_children", "1")


# counters ---------------------------------------------------------------------------------------


def memory_stats(directory: str) -> dict[str, Any]:
    """Usage, peak, failures and limit of memory, memory+swap and kernel memory, and memory.stat."""
    found: dict[str, Any] = {"stat": files.pairs(directory + "/memory.stat")}
    for key, prefix in (("usage", "memory."), ("swap", "memory.memsw."), ("kernel", "memory.kmem."),
                        ("kernel_tcp", "memory.kmem.tcp.")):  # fmt: skip
        found[key] = {
            "usage": files.number(f"{directory}/{prefix}usage_in_bytes") or 0,
            "max": files.number(f"{directory}/{prefix}max_usage_in_bytes") or 0,
            "failcnt": files.number(f"{directory}/{prefix}failcnt") or 0,
            "limit": files.number(f"{directory}/{prefix}limit_in_bytes") or 0,
        }
    found["oom"] = files.pairs(directory + "/memory.oom_control")
    return found


def memory_limited(directory: str) -> bool:
    """Whether a memory limit is in force."""
    return (files.number(directory + "/memory.limit_in_bytes") or _NO_LIMIT) < _NO_LIMIT


def cpu_stats(directory: str) -> dict[str, int]:
    """Throttling counters; times in nanoseconds."""
    found = files.pairs(directory + "/cpu.stat")
    return {
        "periods": found.get("nr_periods", 0),
        "throttled_periods": found.get("nr_throttled", 0),
        "throttled_time": found.get("throttled_time", 0),
    }


def cpuacct_stats(directory: str) -> dict[str, Any]:
    """CPU time in nanoseconds: all, user, kernel, per CPU."""
    per_cpu = files.read_optional(directory + "/cpuacct.usage_percpu").split()
    return {
        "total": files.number(directory + "/cpuacct.usage") or 0,
        "user": files.number(directory + "/cpuacct.usage_user") or 0,
        "kernel": files.number(directory + "/cpuacct.usage_sys") or 0,
        "per_cpu": [int(value) for value in per_cpu],
    }


_BLKIO = (
    ("io_service_bytes_recursive", ("blkio.bfq.io_service_bytes_recursive",
                                    "blkio.throttle.io_service_bytes_recursive",
                                    "blkio.throttle.io_service_bytes")),
    ("io_serviced_recursive", ("blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive",
                               "blkio.throttle.io_serviced")),
)  # fmt: skip


def _blkio_entries(text: str) -> list[dict[str, Any]]:
    entries = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3:
            major, _, minor = words[0].partition(":")
            entries.append({"major": int(major), "minor": int(minor), "op": words[1], "value": int(words[2])})
    return entries


def blkio_stats(directory: str) -> dict[str, Any]:
    """Bytes and operations per device; the first file that has entries counts."""
    found = {}
    for key, names in _BLKIO:
        texts = (_blkio_entries(files.read_optional(f"{directory}/{name}")) for name in names)
        found[key] = next((entries for entries in texts if entries), [])
    return found
