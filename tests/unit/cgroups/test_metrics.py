"""Counters as containerd's messages: what goes in comes out, of both versions."""

from __future__ import annotations

from typing import Any

import pytest

from hakobune.cgroups import metrics
from hakobune.errors import Unimplemented
from hakobune.wire import pb

ENTRY = {"usage": 5, "max": 7, "failcnt": 1, "limit": (1 << 63) - 4096}
NONE = {"usage": 0, "max": 0, "failcnt": 0, "limit": 0}


def io(value: int) -> list[dict[str, Any]]:
    return [
        {"op": "Read", "major": 8, "minor": 0, "value": value},
        {"op": "Write", "major": 8, "minor": 0, "value": value + 1},
    ]


CPU = {
    "total": 900_000,
    "user": 600_000,
    "kernel": 300_000,
    "periods": 4,
    "throttled_periods": 1,
    "throttled_time": 2000,
}
BLKIO = {"io_service_bytes_recursive": io(10), "io_serviced_recursive": io(20)}


def of(version: int) -> dict[str, Any]:
    memory: dict[str, Any] = (
        {"usage": ENTRY, "swap": ENTRY, "kernel": NONE, "kernel_tcp": NONE,
         "stat": {"total_rss": 4096, "cache": 3}, "oom": {"oom_kill_disable": 0, "under_oom": 0, "oom_kill": 2}}
        if version == 1
        else {"usage": ENTRY, "swap": ENTRY | {"failcnt": 0}, "stat": {"anon": 4096},
              "oom": {"low": 0, "high": 0, "max": 1, "oom": 1, "oom_kill": 1, "oom_group_kill": 0}}
    )  # fmt: skip
    return {
        "version": version, "pids": {"current": 3, "limit": 100},
        "cpu": CPU | {"per_cpu": [450_000, 450_000] if version == 1 else []}, "memory": memory, "blkio": BLKIO,
    }  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
def test_there_and_back(version: int) -> None:
    stats = of(version)
    name, data = metrics.encode(stats)
    assert name == f"io.containerd.cgroups.v{version}.Metrics"
    found = metrics.decode(name, data)
    known = {key: value for key, value in found["memory"].pop("stat").items() if value}
    assert known == stats["memory"].pop("stat")
    assert found == stats


def test_numbers_of_fields_are_containerds() -> None:
    fields = pb.decode(metrics.encode(of(1))[1])
    assert pb.number(pb.decode(pb.blob(fields, 2)), 2) == 100  # pids.limit
    assert pb.number(pb.decode(pb.blob(pb.decode(pb.blob(fields, 3)), 1)), 1) == 900_000  # cpu.usage.total
    assert pb.number(pb.decode(pb.blob(pb.decode(pb.blob(fields, 4)), 33)), 2) == 5  # memory.usage.usage
    fields = pb.decode(metrics.encode(of(2))[1])
    assert pb.number(pb.decode(pb.blob(fields, 2)), 1) == 900  # cpu.usage_usec
    assert pb.number(pb.decode(pb.blob(fields, 4)), 32) == 5  # memory.usage


def test_other_messages_are_refused() -> None:
    with pytest.raises(Unimplemented):
        metrics.decode("windows.Statistics", b"")
    with pytest.raises(ValueError, match="protobuf"):
        metrics.decode(metrics.V1, b"\x12\xff")
