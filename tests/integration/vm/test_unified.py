"""Control groups v2 alone, on Debian's kernel in QEMU: the engine's and the groups' own tests run in there.

That kernel is also an older one (6.1): no status of what others have reaped, no `lowerdir+`; and there the engine
owns CAP_SYS_RESOURCE.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from hakobune.testing import machine

SECONDS = 400.0
ROOT = Path(__file__).resolve().parents[3]
TESTS = (
    "tests/integration/cgroups",
    "tests/integration/shim/test_crash.py::test_memory_limit",
    "tests/integration/shim/test_exec.py::test_exec_runs_inside",
    "tests/integration/engine/test_life.py::test_run_prints_and_returns_the_exit_code",
    "tests/integration/engine/test_life.py::test_exec_in_a_running_container",
    "tests/integration/engine/test_life.py::test_the_end_of_init_ends_everything",
    "tests/integration/engine/test_ends_by_force.py::test_memory_of_init_runs_out",
    "tests/integration/vm/inside.py",
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(SECONDS + 60),
    pytest.mark.skipif(bool(machine.missing()), reason=f"no machine: {machine.missing()}"),
]


def test_v2_alone(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", "-q", *TESTS]
    command = (
        "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1\n"
        f"cd {shlex.quote(str(ROOT))} && {shlex.join(words)}\n"
    )
    done = machine.run(command, ROOT, tmp_path, SECONDS)
    assert done.status == 0, f"{done.output[-6000:]}\n{done.console[-1000:]}"
    assert " passed" in done.output
    assert "failed" not in done.output
