"""A wrong `linux.resources` is named to the field, whatever is wrong with it."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakobune.cgroups.cgroup import Cgroup
from hakobune.cgroups.check import check
from hakobune.errors import HakoError, InvalidArgument

DEVICE = {"major": 8, "minor": 0, "rate": 1000}
EVERYTHING: dict[str, Any] = {
    "memory": {"limit": 1 << 20, "swap": 1 << 21, "reservation": 1, "swappiness": 5, "disableOOMKiller": False},
    "cpu": {"shares": 512, "quota": 1000, "period": 10000, "burst": 1, "idle": 0, "cpus": "0", "mems": "0"},
    "pids": {"limit": 5},
    "blockIO": {
        "weight": 100, "leafWeight": 10, "weightDevice": [{"major": 8, "minor": 0, "weight": 5}],
        "throttleReadBpsDevice": [DEVICE], "throttleWriteBpsDevice": [DEVICE],
        "throttleReadIOPSDevice": [DEVICE], "throttleWriteIOPSDevice": [DEVICE],
    },
    "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
    "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 1}]},
    "devices": [{"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}],
    "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 1000}},
    "unified": {"hugetlb.2MB.max": "0"},
}  # fmt: skip
NOISE = st.booleans() | st.integers() | st.text(max_size=3) | st.just([1]) | st.just({"x": 1}) | st.just([{}])


def test_everything() -> None:
    check(EVERYTHING)
    check({})


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ({"memory": []}, "linux.resources.memory: expected an object, got []"),
        ({"memory": {"limit": "1g"}}, "linux.resources.memory.limit: expected a number, got '1g'"),
        ({"cpu": {"cpus": 1}}, "linux.resources.cpu.cpus: expected a string, got 1"),
        ({"pids": {"limit": True}}, "linux.resources.pids.limit: expected a number, got True"),
        ({"hugepageLimits": [{"limit": 1}]}, "linux.resources.hugepageLimits[0].pageSize: is missing"),
        (
            {"blockIO": {"throttleReadBpsDevice": [DEVICE, {"major": 1, "minor": 2}]}},
            "linux.resources.blockIO.throttleReadBpsDevice[1].rate: is missing",
        ),
        ({"devices": [{"access": "rwm"}]}, "linux.resources.devices[0].allow: is missing"),
        ({"devices": [1]}, "linux.resources.devices[0]: expected an object, got 1"),
        ({"unified": {"memory.high": 1}}, "linux.resources.unified.memory.high: expected a string, got 1"),
        (
            {"rdma": {"mlx5_1": {"hcaHandles": "3"}}},
            "linux.resources.rdma.mlx5_1.hcaHandles: expected a number",
        ),
    ],
)
def test_what_is_wrong_is_named(resources: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check(resources)
    assert str(caught.value).startswith(text)


@given(st.data(), NOISE)
def test_noise_in_one_place(data: st.DataObject, noise: Any) -> None:
    """Written or refused as our own kind of error, never another exception: into a directory without cgroup files."""
    document = copy.deepcopy(EVERYTHING)
    place: Any = document
    while True:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = noise
        break
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory, "x")
        made.mkdir()
        for controllers in ([], ["memory", "cpu", "cpuset", "pids", "io", "hugetlb", "rdma"]):
            record = {"path": "/x", "unified": str(made), "unified_controllers": controllers}
            record["v1"] = (
                {} if controllers else {"memory,cpu,cpuset,pids,blkio,hugetlb,rdma,devices": str(made)}
            )
            document.pop("devices", None) if controllers else None  # those are a BPF program there
            try:
                Cgroup.from_record(record).update(document)
            except HakoError:
                pass


def test_a_limit_of_unified_that_is_not_here(tmp_path: Path) -> None:
    """config-linux.md: never silently left out."""
    record = {"path": "/x", "v1": {}, "unified": str(tmp_path / "x"), "unified_controllers": ["memory"]}
    (tmp_path / "x").mkdir()
    (tmp_path / "x/memory.high").touch()
    group = Cgroup.from_record(record)
    group.update({"unified": {"memory.high": "1048576"}})
    assert (tmp_path / "x/memory.high").read_text() == "1048576"
    for name, text in (
        ("io.max", "has no controller 'io'"),
        ("memory.nope", "this kernel has no such limit"),
    ):
        with pytest.raises(InvalidArgument, match=f"linux.resources.unified.{name}: .*{text}"):
            group.update({"unified": {name: "1"}})


def test_memory_in_use_is_looked_at_when_asked(tmp_path: Path) -> None:
    record = {"path": "/x", "v1": {}, "unified": str(tmp_path), "unified_controllers": ["memory"]}
    for name, value in (("memory.current", "2000000"), ("memory.max", "max")):
        (tmp_path / name).write_text(value)
    group = Cgroup.from_record(record)
    with pytest.raises(HakoError, match=r"unable to set memory limit to 1048576 \(current usage: 2000000\)"):
        group.update({"memory": {"limit": 1 << 20, "checkBeforeUpdate": True}})
    assert (tmp_path / "memory.max").read_text() == "max"
    group.update({"memory": {"limit": 1 << 20}})
    assert (tmp_path / "memory.max").read_text().startswith("1048576")


def test_rdma(tmp_path: Path) -> None:
    (tmp_path / "rdma.max").touch()
    Cgroup.from_record(
        {"path": "/x", "v1": {"rdma": str(tmp_path)}, "unified": "", "unified_controllers": []}
    ).update({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 1000}}})
    assert (tmp_path / "rdma.max").read_text() == "mlx5_1 hca_handle=3 hca_object=1000"
