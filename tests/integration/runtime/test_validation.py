"""Some of OCI's validation programs on hako-runtime, the quick ones that runc passes: `make conformance` runs all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hakobune.testing import validation

pytestmark = [pytest.mark.root, pytest.mark.slow]

OURS = str(Path(sys.executable).with_name("hako-runtime"))
QUICK = ("create", "state", "kill_no_effect", "hostname", "mounts", "linux_masked_paths", "linux_cgroups_pids",
         "linux_rootfs_propagation", "linux_seccomp", "config_updates_without_affect", "root_readonly_true")  # fmt: skip


@pytest.mark.parametrize("name", QUICK)
def test_a_program_has_nothing_to_say(name: str) -> None:
    where = validation.home()
    if where is None:
        pytest.skip("peer not built: runtime-tools (make peers, with Go)")
    before = Path("/proc/self/mountinfo").read_text()
    found = validation.run(where / name, OURS)
    assert (found.complaint, found.passed > 0) == ("", True)
    assert Path("/proc/self/mountinfo").read_text() == before
