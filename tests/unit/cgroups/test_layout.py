"""Which hierarchies a mountinfo text describes."""

from __future__ import annotations

import pytest

from hakobune.cgroups.layout import parse

HYBRID = """\
21 1 0:20 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
22 21 0:21 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
23 21 0:22 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
24 21 0:23 / /sys/fs/cgroup/systemd rw,relatime - cgroup systemd rw,xattr,name=systemd
25 21 0:24 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
99 80 0:22 /docker/abc /var/x/rootfs/sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
"""
UNIFIED = "30 1 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def test_hybrid_takes_the_first_mount_of_each_hierarchy() -> None:
    layout = parse(HYBRID)
    assert layout.mode == "hybrid"
    assert [item.name for item in layout.v1] == ["cpu,cpuacct", "memory", "name=systemd"]
    memory = layout.home("memory")
    assert memory is not None
    assert memory.mount == "/sys/fs/cgroup/memory"


def test_a_joined_hierarchy_is_the_home_of_each_of_its_controllers() -> None:
    layout = parse(HYBRID)
    assert layout.home("cpu") is layout.home("cpuacct")
    assert layout.home("pids") is None


@pytest.mark.parametrize(
    ("text", "mode"),
    [(UNIFIED, "v2"), (HYBRID.replace("cgroup2", "none"), "v1"), ("garbage\n\n" + UNIFIED, "v2")],
)
def test_modes(text: str, mode: str) -> None:
    assert parse(text).mode == mode


def test_a_blank_in_a_mount_point_is_unescaped() -> None:
    assert parse("30 1 0:26 / /a\\040b rw - cgroup2 none rw\n").unified == "/a b"
