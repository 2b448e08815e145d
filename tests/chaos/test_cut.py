"""Connections between the daemons, and to shims, that break while everybody lives: made again, nothing is asked twice."""

from __future__ import annotations

import time

import pytest
from tests.chaos.conftest import STARTER, Stage

from hakobune.testing.cutting import cut
from hakobune.testing.processes import command_lines

pytestmark = [pytest.mark.root, pytest.mark.slow]


def cut_all(stage: Stage) -> list[str]:
    """Every connection of this engine but its clients'."""
    pids = stage.engine.daemons()
    shims = [pid for pid, line in command_lines() if line.startswith("hako-shim ")]
    below = f"{stage.engine.root}/e/"
    return [path for pid in (pids["hako-containerd"], pids["zygote"], *shims) for path in cut(pid, below)]


def test_what_lives_is_connected_again(stage: Stage) -> None:
    stage.ok("run", "-d", "--name", "one", STARTER, "/bin/sleep", "600")
    shim = stage.shim("one")
    waiting = stage.client("wait", "one")
    inside = stage.client("exec", "one", "/bin/sh", "-c", "echo in; sleep 1; exit 4")
    attached = stage.client("attach", "one")
    time.sleep(0.5)
    paths = {path.rpartition("/")[0].removeprefix(f"{stage.engine.root}/e") for path in cut_all(stage)}
    assert paths >= {"", "/containerd/s", "/s"}  # the manager's, the shim's own, its side
    assert stage.ok("exec", "one", "/bin/echo", "on") == "on"
    assert stage.shim("one") == shim
    assert inside.communicate(timeout=15)[0] == "in\n"
    assert inside.returncode == 4
    assert attached.poll() is None
    cut_all(stage)
    stage.ok("kill", "one")
    assert waiting.communicate(timeout=15)[0] == "137\n"
    assert attached.wait(15) == 137
    assert "is lost" not in stage.engine.log.read_text()


@pytest.mark.parametrize("moment", [0.01, 0.02, 0.03, 0.045, 0.06])
def test_a_life_over_connections_that_break(stage: Stage, moment: float) -> None:
    """Every verb is under way when they do."""
    stage.ok("create", "--name", "one", STARTER, "/bin/sleep", "600")
    for verb in (("start", "one"), ("pause", "one"), ("unpause", "one"), ("exec", "one", "/bin/true"),
                 ("top", "one"), ("restart", "-t", "0", "one"), ("kill", "one"), ("rm", "one")):  # fmt: skip
        asked = stage.client(*verb)
        time.sleep(moment)
        for _ in range(3):
            cut_all(stage)
        said = asked.communicate(timeout=15)
        assert (asked.returncode, said[1]) == (0, ""), f"{verb}: {said} {stage.engine.tail(80)}"
