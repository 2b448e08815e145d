"""Whom the kernel takes first when the machine's memory runs out: shims last, as far as we may ask for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.conftest import STARTER, Docker

from hakobune.linux import oom_score
from hakobune.testing.engine import PrivateEngine

pytestmark = [pytest.mark.root, pytest.mark.slow]

OURS = int(Path(oom_score.PATH).read_text())


def granted(value: int) -> int:
    """What the kernel gives to one who asks: ours again without CAP_SYS_RESOURCE."""
    program = f"from hakobune.linux import oom_score; print(oom_score.ask({value}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(done.stdout)


def score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def inside(docker: Docker, name: str) -> tuple[int, int]:
    """(of init, of an exec)"""
    pid = int(docker("inspect", "-f", "{{.State.Pid}}", name).stdout)
    return score(pid), int(docker("exec", name, "/bin/cat", "/proc/self/oom_score_adj").stdout)


def test_shims_are_last_and_containers_are_as_asked(docker: Docker, engine: PrivateEngine) -> None:
    assert docker("run", "-d", "--name", "plain", STARTER, "/bin/sleep", "60").returncode == 0
    shim = parent(int(docker("inspect", "-f", "{{.State.Pid}}", "plain").stdout))
    daemons = engine.daemons()
    assert score(daemons["hakod"]) == score(daemons["hako-containerd"]) == granted(oom_score.DAEMON)
    assert score(daemons["zygote"]) == score(shim) == granted(oom_score.SHIM)
    assert inside(docker, "plain") == (granted(0), granted(0))
    line = ("run", "-d", "--name", "first", "--oom-score-adj", "300", STARTER, "/bin/sleep", "60")
    assert docker(*line).returncode == 0
    assert inside(docker, "first") == (300, 300)
    assert docker("rm", "-f", "plain", "first").returncode == 0


def test_a_worker_gives_the_protection_back() -> None:
    """Raising is granted to everybody, so this stands for a lowered score everywhere."""
    program = (
        "from hakobune.linux import oom_score\n"
        f"oom_score.unprotect(); print(oom_score.ask({OURS}))\n"
        "oom_score.protect(700); oom_score.unprotect(); print(open(oom_score.PATH).read(), oom_score._kept)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after, kept = done.stdout.split()
    assert (int(before), kept) == (OURS, f"[{OURS}]")
    assert int(after) in (OURS, 700)  # back only where lowering is granted
