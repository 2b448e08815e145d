"""Runs inside the machine of test_unified.py only: what is true there and not on every machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hakobune.testing.engine import PrivateEngine

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not os.path.exists("/sys/fs/cgroup/cgroup.controllers"), reason="control groups v2 are not alone here"
    ),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    with PrivateEngine() as running:
        yield running


def group_of(engine: PrivateEngine, name: str) -> Path:
    found = json.loads(engine.hako("inspect", name).stdout)[0]
    line = Path(f"/proc/{found['State']['Pid']}/cgroup").read_text().strip()
    return Path("/sys/fs/cgroup" + line.partition("::")[2])


def test_limits_are_in_the_unified_files(engine: PrivateEngine) -> None:
    engine.hako("run", "-d", "--name", "limited", "--network", "none", "--memory", "64m", "--cpus", "0.5",
                "--pids-limit", "33", "hako/starter", "sleep", "60")  # fmt: skip
    group = group_of(engine, "limited")
    assert (group / "memory.max").read_text().strip() == str(64 << 20)
    assert (group / "cpu.max").read_text().split() == ["50000", "100000"]
    assert (group / "pids.max").read_text().strip() == "33"
    engine.hako("pause", "limited")
    assert "frozen 1" in (group / "cgroup.events").read_text()
    engine.hako("unpause", "limited")
    engine.hako("update", "--memory", "32m", "--memory-swap", "32m", "limited")
    assert (group / "memory.max").read_text().strip() == str(32 << 20)
    engine.hako("rm", "-f", "limited")
    assert not group.exists()


def test_the_container_sees_its_own_group_as_the_root(engine: PrivateEngine) -> None:
    done = engine.hako("run", "--rm", "--network", "none", "hako/starter", "sh", "-c",
                       "cat /proc/self/cgroup; cat /sys/fs/cgroup/pids.max")  # fmt: skip
    assert done.stdout.splitlines()[0] == "0::/"


def test_devices_are_refused_by_the_program_of_the_group(engine: PrivateEngine) -> None:
    script = "echo x > /dev/null && mknod /tmp/disk b 7 0 && cat /tmp/disk; echo end"
    done = engine.hako("run", "--rm", "--network", "none", "hako/starter", "sh", "-c", script)
    assert "end" in done.stdout
    assert "not permitted" in done.stderr.lower()


def test_what_the_engine_owns_is_given(engine: PrivateEngine) -> None:
    """CAP_SYS_RESOURCE is there: a hard limit is raised, a score lowered, and a privileged container has all."""
    done = engine.hako("run", "--rm", "--network", "none", "--privileged", "--ulimit", "nofile=500000:500000",
                       "--oom-score-adj", "-500", "hako/starter", "sh", "-c",
                       "ulimit -Hn; cat /proc/self/oom_score_adj; grep CapEff /proc/self/status")  # fmt: skip
    limit, score, caps = done.stdout.splitlines()
    host = int(Path("/proc/self/status").read_text().partition("CapBnd:")[2].split()[0], 16)
    assert (limit, score) == ("500000", "-500")
    assert int(caps.split()[1], 16) == host
