"""`Cgroup.stats()` as containerd's clients know it: io.containerd.cgroups.v1.Metrics or v2.Metrics, and back.

Field numbers: containerd/cgroups, cgroup1/stats/metrics.proto and cgroup2/stats/metrics.proto. Written with
the small codec, since shims answer with it. Imports: wire.pb.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hakobune.errors import Unimplemented
from hakobune.record import Any
from hakobune.wire import pb

V1 = "io.containerd.cgroups.v1.Metrics"
V2 = "io.containerd.cgroups.v2.Metrics"

Numbers = Mapping[str, int]
_PIDS: Numbers = {"current": 1, "limit": 2}
_CPU_1: Numbers = {"total": 1, "kernel": 2, "user": 3}
_PER_CPU = 4
_THROTTLING: Numbers = {"periods": 1, "throttled_periods": 2, "throttled_time": 3}
_ENTRY: Numbers = {"limit": 1, "usage": 2, "max": 3, "failcnt": 4}
_ENTRIES_1: Numbers = {"usage": 33, "swap": 34, "kernel": 35, "kernel_tcp": 36}
_OOM_1: Numbers = {"oom_kill_disable": 1, "under_oom": 2, "oom_kill": 3}
_BLKIO_1: Numbers = {"io_service_bytes_recursive": 1, "io_serviced_recursive": 2}
_STAT_1: Numbers = {
    name: number
    for number, name in enumerate(
        (
            "cache", "rss", "rss_huge", "mapped_file", "dirty", "writeback", "pgpgin", "pgpgout", "pgfault",
            "pgmajfault", "inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable",
            "hierarchical_memory_limit", "hierarchical_memsw_limit", "total_cache", "total_rss",
            "total_rss_huge", "total_mapped_file", "total_dirty", "total_writeback", "total_pgpgin",
            "total_pgpgout", "total_pgfault", "total_pgmajfault", "total_inactive_anon", "total_active_anon",
            "total_inactive_file", "total_active_file", "total_unevictable",
        ),
        1,
    )
}  # fmt: skip
_CPU_2: Numbers = {
    "total": 1,
    "user": 2,
    "kernel": 3,
    "periods": 4,
    "throttled_periods": 5,
    "throttled_time": 6,
}
_IN_MICROSECONDS = frozenset(("total", "user", "kernel", "throttled_time"))
_STAT_2: Numbers = {
    name: number
    for number, name in enumerate(
        (
            "anon", "file", "kernel_stack", "slab", "sock", "shmem", "file_mapped", "file_dirty",
            "file_writeback", "anon_thp", "inactive_anon", "active_anon", "inactive_file", "active_file",
            "unevictable", "slab_reclaimable", "slab_unreclaimable", "pgfault", "pgmajfault",
            "workingset_refault", "workingset_activate", "workingset_nodereclaim", "pgrefill", "pgscan",
            "pgsteal", "pgactivate", "pgdeactivate", "pglazyfree", "pglazyfreed", "thp_fault_alloc",
            "thp_collapse_alloc",
        ),
        1,
    )
}  # fmt: skip
_ENTRY_2 = (
    ("usage", "usage", 32), ("usage", "limit", 33), ("swap", "usage", 34), ("swap", "limit", 35),
    ("usage", "max", 36), ("swap", "max", 37),
)  # fmt: skip
_EVENTS_2: Numbers = {"low": 1, "high": 2, "max": 3, "oom": 4, "oom_kill": 5, "oom_group_kill": 6}
_IO_2 = {
    ("io_service_bytes_recursive", "Read"): 3,
    ("io_service_bytes_recursive", "Write"): 4,
    ("io_serviced_recursive", "Read"): 5,
    ("io_serviced_recursive", "Write"): 6,
}


def encode(stats: Mapping[str, Any]) -> tuple[str, bytes]:
    """(name of the message, its bytes) of what `Cgroup.stats` gave."""
    return (V1, _encode_1(stats)) if stats["version"] == 1 else (V2, _encode_2(stats))


def decode(name: str, data: bytes) -> dict[str, Any]:
    """The inverse, from any shim. Raises Unimplemented for another message, ValueError for a damaged one."""
    if name not in (V1, V2):
        raise Unimplemented(f"counters of type {name!r} are not understood")
    fields = pb.decode(data)
    return _decode_1(fields) if name == V1 else _decode_2(fields)


def _write(numbers: Numbers, values: Mapping[str, int]) -> bytes:
    return b"".join(pb.field(number, values.get(name, 0)) for name, number in numbers.items())


def _read(numbers: Numbers, fields: pb.Fields) -> dict[str, int]:
    return {name: pb.number(fields, number) for name, number in numbers.items()}


def _inside(fields: pb.Fields, number: int) -> pb.Fields:
    return pb.decode(pb.blob(fields, number))


# --- v1 ---


def _encode_1(stats: Mapping[str, Any]) -> bytes:
    cpu, memory = stats["cpu"], stats["memory"]
    per_cpu = b"".join(pb.varint(value) for value in cpu.get("per_cpu", ()))
    usage = _write(_CPU_1, cpu) + pb.field(_PER_CPU, per_cpu)
    written = pb.message(2, _write(_PIDS, stats["pids"]))
    written += pb.message(3, pb.message(1, usage) + pb.message(2, _write(_THROTTLING, cpu)))
    entries = (
        pb.message(number, _write(_ENTRY, memory.get(name) or {})) for name, number in _ENTRIES_1.items()
    )
    written += pb.message(4, _write(_STAT_1, memory.get("stat", {})) + b"".join(entries))
    written += pb.message(5, b"".join(_blkio_1(stats["blkio"])))
    return written + pb.message(9, _write(_OOM_1, memory.get("oom", {})))


def _blkio_1(blkio: Mapping[str, Any]) -> Iterable[bytes]:
    for name, number in _BLKIO_1.items():
        for entry in blkio.get(name, ()):
            yield pb.message(
                number,
                pb.field(1, entry["op"]) + pb.field(3, entry["major"]) + pb.field(4, entry["minor"])
                + pb.field(5, entry["value"]),
            )  # fmt: skip


def _decode_1(fields: pb.Fields) -> dict[str, Any]:
    cpu, memory, blkio = _inside(fields, 3), _inside(fields, 4), _inside(fields, 5)
    return {
        "version": 1,
        "pids": _read(_PIDS, _inside(fields, 2)),
        "cpu": _read(_CPU_1, _inside(cpu, 1))
        | {"per_cpu": pb.numbers(_inside(cpu, 1), _PER_CPU)}
        | _read(_THROTTLING, _inside(cpu, 2)),
        "memory": {name: _read(_ENTRY, _inside(memory, number)) for name, number in _ENTRIES_1.items()}
        | {"stat": _read(_STAT_1, memory), "oom": _read(_OOM_1, _inside(fields, 9))},
        "blkio": {
            name: [_blkio_entry(entry) for entry in blkio.get(number, ())]
            for name, number in _BLKIO_1.items()
        },
    }


def _blkio_entry(data: int | bytes) -> dict[str, Any]:
    fields = pb.decode(data) if isinstance(data, bytes) else {}
    return {"op": pb.text(fields, 1)} | _read({"major": 3, "minor": 4, "value": 5}, fields)


# --- v2 ---


def _encode_2(stats: Mapping[str, Any]) -> bytes:
    memory = stats["memory"]
    cpu = {
        name: value // 1000 if name in _IN_MICROSECONDS else value
        for name, value in stats["cpu"].items()
        if name in _CPU_2
    }
    entries = (pb.field(number, (memory.get(group) or {}).get(name, 0)) for group, name, number in _ENTRY_2)
    written = pb.message(1, _write(_PIDS, stats["pids"])) + pb.message(2, _write(_CPU_2, cpu))
    written += pb.message(4, _write(_STAT_2, memory.get("stat", {})) + b"".join(entries))
    written += pb.message(6, b"".join(pb.message(1, device) for device in _io_2(stats["blkio"])))
    return written + pb.message(8, _write(_EVENTS_2, memory.get("oom", {})))


def _io_2(blkio: Mapping[str, Any]) -> Iterable[bytes]:
    devices: dict[tuple[int, int], bytes] = {}
    for (name, op), number in _IO_2.items():
        for entry in blkio.get(name, ()):
            if entry["op"] == op:
                device = entry["major"], entry["minor"]
                start = pb.field(1, device[0]) + pb.field(2, device[1])
                devices[device] = devices.get(device, start) + pb.field(number, entry["value"])
    return devices.values()


def _decode_2(fields: pb.Fields) -> dict[str, Any]:
    memory = _inside(fields, 4)
    cpu = _read(_CPU_2, _inside(fields, 2))
    found: dict[str, Any] = {"stat": _read(_STAT_2, memory), "oom": _read(_EVENTS_2, _inside(fields, 8))}
    for group, name, number in _ENTRY_2:
        found.setdefault(group, {"failcnt": 0})[name] = pb.number(memory, number)
    found["usage"]["failcnt"] = found["oom"]["max"]
    blkio: dict[str, Any] = {"io_service_bytes_recursive": [], "io_serviced_recursive": []}
    for data in _inside(fields, 6).get(1, ()):
        device = pb.decode(data) if isinstance(data, bytes) else {}
        for (name, op), number in _IO_2.items():
            at = {"op": op} | _read({"major": 1, "minor": 2, "value": number}, device)
            blkio[name].append(at)
    return {
        "version": 2,
        "pids": _read(_PIDS, _inside(fields, 1)),
        "cpu": {name: value * 1000 if name in _IN_MICROSECONDS else value for name, value in cpu.items()}
        | {"per_cpu": []},
        "memory": found,
        "blkio": blkio,
    }
