"""`events`: what a container uses, as lines of JSON in runc's fields. Imports: json; cgroups, oci.verbs.control."""

from __future__ import annotations

import json
import sys
import time

from hakobune.cgroups import files
from hakobune.cgroups.cgroup import Cgroup
from hakobune.errors import FailedPrecondition
from hakobune.oci.verbs.control import found
from hakobune.record import Any

_CPUSET = ("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab",
           "memory_pressure", "sched_load_balance", "sched_relax_domain_level")  # fmt: skip
_BLKIO = {
    "io_service_bytes_recursive": "ioServiceBytesRecursive",
    "io_serviced_recursive": "ioServicedRecursive",
}


def events(root: str, container_id: str, interval: float, *, once: bool) -> int:
    """`events`: a line of JSON every `interval` seconds until the container ends, or one. Prints."""
    while True:
        _record, status, cgroup = found(root, container_id)
        if status == "stopped":
            if once:
                raise FailedPrecondition(f"container with id {container_id} is not running")
            return 0
        print(json.dumps({"type": "stats", "id": container_id, "data": _stats(cgroup)}))
        sys.stdout.flush()
        if once:
            return 0
        time.sleep(interval)


def _stats(cgroup: Cgroup) -> dict[str, Any]:
    counted = cgroup.stats()
    memory, pids = counted["memory"], counted["pids"]
    return {
        "cpu": {"usage": _usage(counted["cpu"], cgroup.v1.get("cpuacct", "")), "throttling": _throttling(counted["cpu"])},
        "cpuset": _cpuset(cgroup.v1.get("cpuset", "")),
        "memory": {
            "usage": memory.get("usage", {}), "swap": memory.get("swap", {}), "kernel": memory.get("kernel", {}),
            "kernelTCP": _kernel_tcp(cgroup.v1.get("memory", "")), "raw": memory.get("stat", {}),
        },
        "pids": {name: value for name, value in pids.items() if value},
        "blkio": {_BLKIO[name]: entries for name, entries in counted["blkio"].items() if name in _BLKIO and entries},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }  # fmt: skip


def _usage(cpu: dict[str, Any], directory: str) -> dict[str, Any]:
    """Nanoseconds. v1 tells each processor's share of user and kernel."""
    rows = (
        [line.split() for line in files.read_optional(f"{directory}/cpuacct.usage_all").splitlines()[1:]]
        if directory
        else []
    )
    return {
        "total": cpu.get("total", 0), "percpu": cpu.get("per_cpu", []),
        "percpu_kernel": [int(row[2]) for row in rows], "percpu_user": [int(row[1]) for row in rows],
        "kernel": cpu.get("kernel", 0), "user": cpu.get("user", 0),
    }  # fmt: skip


def _throttling(cpu: dict[str, Any]) -> dict[str, int]:
    names = {"periods": "periods", "throttledPeriods": "throttled_periods", "throttledTime": "throttled_time"}
    return {name: cpu[key] for name, key in names.items() if cpu.get(key)}


def _cpuset(directory: str) -> dict[str, Any]:
    if not directory:
        return {}
    made: dict[str, Any] = {name: files.number(f"{directory}/cpuset.{name}") or 0 for name in _CPUSET}
    return made | {
        name: _listed(files.read_optional(f"{directory}/cpuset.{name}")) for name in ("cpus", "mems")
    }


def _listed(text: str) -> list[int]:
    """`0-3,7`."""
    ranges = [part.partition("-") for part in text.strip().split(",") if part]
    return [number for first, _, last in ranges for number in range(int(first), int(last or first) + 1)]


def _kernel_tcp(directory: str) -> dict[str, int]:
    names = {
        "limit": "limit_in_bytes",
        "usage": "usage_in_bytes",
        "max": "max_usage_in_bytes",
        "failcnt": "failcnt",
    }
    read = (
        {name: files.number(f"{directory}/memory.kmem.tcp.{file}") for name, file in names.items()}
        if directory
        else {}
    )
    return {name: value for name, value in read.items() if value is not None}
