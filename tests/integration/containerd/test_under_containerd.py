"""`containerd-shim-hako-v1` under the real containerd: `ctr run --runtime io.containerd.hako.v1`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from hakobune.testing.clients import IMAGE, Cli, found, image_archive
from hakobune.testing.conformance import Check, checks_for, outcome, prepared
from hakobune.testing.containerd import RealContainerd

pytestmark = [pytest.mark.root, pytest.mark.slow]

RUNTIME = "io.containerd.hako.v1"
CHECKS = [
    one
    for one in checks_for("ctr")
    if one.command.startswith(("run", "tasks")) and "checkpoint" not in one.command
]


@pytest.fixture
def ctr(peer: Callable[[str], Path]) -> Cli:
    """The oldest one, which every containerd understands."""
    peer("ctr")
    return next(cli for cli in found() if cli.name == "ctr")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.command)
def test_commands_of_ctr(check: Check, real: RealContainerd, ctr: Cli, tmp_path_factory) -> None:
    scratch: Path = tmp_path_factory.getbasetemp()
    assert outcome(prepared(ctr, check, real.address, scratch, RUNTIME), check) == "works"


def test_taken_over(real: RealContainerd, ctr: Cli, tmp_path: Path) -> None:
    cli = Cli(ctr.name, ctr.version, ctr.program, real.address, "taken", scratch=tmp_path)
    cli("images", "import", str(image_archive(tmp_path / "starter.tar")))
    cli("run", "-d", "--runtime", RUNTIME, IMAGE, "one", "sleep", "600")
    before = cli("tasks", "ls")
    assert "RUNNING" in before
    real.kill()
    real.start()
    assert cli("tasks", "ls") == before
    assert cli("tasks", "exec", "--exec-id", "e", "one", "echo", "here") == "here\n"
    with cli.watching("events") as watch:
        cli("tasks", "kill", "-s", "SIGKILL", "one")
        watch.until("/tasks/exit")
    assert "STOPPED" in cli("tasks", "ls")
    cli("tasks", "rm", "one")
    cli("containers", "rm", "one")


def test_its_shim_is_killed(real: RealContainerd, ctr: Cli, tmp_path: Path) -> None:
    """containerd runs our `delete`, and tells the end."""
    cli = Cli(ctr.name, ctr.version, ctr.program, real.address, "killed", scratch=tmp_path)
    cli("images", "import", str(image_archive(tmp_path / "starter.tar")))
    cli("run", "-d", "--runtime", RUNTIME, IMAGE, "one", "sleep", "600")
    (row,) = [line.split() for line in cli("tasks", "ls").splitlines() if line.startswith("one ")]
    shim = int(Path(f"/proc/{row[1]}/stat").read_text().rpartition(")")[2].split()[1])
    with cli.watching("events") as watch:
        os.kill(shim, signal.SIGKILL)
        watch.until("/tasks/exit")
    assert not os.path.exists(f"/proc/{row[1]}")
    cli("containers", "rm", "one")
