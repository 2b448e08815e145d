"""Conversions and files of v1 and v2, on plain directories standing in for cgroupfs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hakobune.cgroups import files, v1, v2
from hakobune.cgroups.cgroup import Cgroup, clean_path
from hakobune.cgroups.limits import Limits
from hakobune.errors import InvalidArgument


def limits(directory: Path, *names: str, value: str = "0\n") -> Limits:
    for name in names:
        (directory / name).write_text(value)
    return Limits(str(directory), [])


@pytest.mark.parametrize(
    ("shares", "weight"), [(2, 1), (1024, 100), (262144, 10000), (512, 60), (1 << 20, 10000)]
)
def test_cpu_weight(shares: int, weight: int) -> None:
    assert v2.cpu_weight(shares) == pytest.approx(weight, abs=2)


def test_swap_is_the_difference_on_v2() -> None:
    assert v2.swap_alone(100, 150) == 50
    assert v2.swap_alone(100, -1) == "max"
    with pytest.raises(InvalidArgument):
        v2.swap_alone(200, 100)


def test_memory_v2(tmp_path: Path) -> None:
    group = limits(tmp_path, "memory.max", "memory.swap.max", "memory.low")
    v2.memory(group, {"limit": 1 << 20, "swap": 3 << 20, "reservation": 4096})
    assert (tmp_path / "memory.swap.max").read_text().startswith(str(2 << 20))
    assert (tmp_path / "memory.low").read_text().startswith("4096")


def test_memory_v1_raises_swap_first_and_lowers_it_last(tmp_path: Path) -> None:
    group = limits(tmp_path, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", value="")
    (tmp_path / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (tmp_path / "memory.memsw.limit_in_bytes").write_text("9223372036854771712\n")
    v1.memory(group, {"limit": 1 << 20, "swap": 2 << 20})
    assert files.read(str(tmp_path / "memory.memsw.limit_in_bytes")).startswith(str(2 << 20))


def test_what_the_kernel_lacks_is_a_warning(tmp_path: Path) -> None:
    group = limits(tmp_path)
    v1.pids(group, {"limit": 5})
    v1.blkio(group, {"weight": 500})
    assert len(group.warnings) == 2
    assert "pids.max" in group.warnings[0]


def test_pids_without_limit(tmp_path: Path) -> None:
    v2.pids(limits(tmp_path, "pids.max", value=""), {"limit": -1})
    assert (tmp_path / "pids.max").read_text() == "max"


@pytest.mark.parametrize("name", ["../x", "a/b", "cgroup.procs"])
def test_raw_values_name_limits_only(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument):
        v2.raw(limits(tmp_path), {name: "1"})


@pytest.mark.parametrize("path", ["", "/", "/a/../b", "..", "a/./b", "/a\nb"])
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(InvalidArgument):
        clean_path(path)


def test_clean_path() -> None:
    assert clean_path("hakobune//abc/") == "/hakobune/abc"


def test_blkio_counters_of_both_versions_have_one_shape(tmp_path: Path) -> None:
    (tmp_path / "io.stat").write_text("8:0 rbytes=10 wbytes=20 rios=1 wios=2\n")
    (tmp_path / "blkio.throttle.io_service_bytes").write_text("8:0 Read 10\n8:0 Write 20\nTotal 30\n")
    old = v1.blkio_stats(str(tmp_path))["io_service_bytes_recursive"]
    assert old == v2.blkio_stats(str(tmp_path))["io_service_bytes_recursive"]
    assert old[0] == {"major": 8, "minor": 0, "op": "Read", "value": 10}


def example(directory: str, **more: Any) -> Cgroup:
    record = {"path": "/x", "v1": {"cpu,cpuacct": directory, "name=systemd": directory}, "unified": "",
              "unified_controllers": []}  # fmt: skip
    return Cgroup.from_record(record | more)


def test_record_and_back() -> None:
    group = example("/cg/x", unified="/cg/u/x", unified_controllers=["io", "hugetlb"])
    again = Cgroup.from_record(group.record())
    assert again.record() == group.record()
    assert again.directories() == ["/cg/x", "/cg/x", "/cg/u/x"]


def test_mounts_of_v1_bind_each_hierarchy_and_link_joined_ones() -> None:
    mounts, links = example("/cg/x").mounts()
    assert [mount.target for mount in mounts] == [
        "/sys/fs/cgroup", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/systemd"]  # fmt: skip
    assert ("cpu,cpuacct", "/sys/fs/cgroup/cpuacct") in links
    assert all("ro" in mount.options for mount in mounts[1:])


def test_mounts_of_v2_are_one() -> None:
    mounts, links = example("", v1={}, unified="/sys/fs/cgroup/x").mounts(readonly=False)
    assert [mount.type for mount in mounts] == ["cgroup2"]
    assert "rw" in mounts[0].options
    assert links == []
