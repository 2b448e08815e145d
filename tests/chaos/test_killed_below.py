"""What is below the engine is killed while the engine lives: the manager, the zygote, shims."""

from __future__ import annotations

import os
import signal
import time

import pytest
from tests.chaos.conftest import STARTER, Stage

pytestmark = [pytest.mark.root, pytest.mark.slow]


def test_ends_while_the_manager_hangs_and_dies(stage: Stage) -> None:
    """Ends that happened meanwhile are recorded, waits and execs answered; what runs is adopted."""
    for name, script in (("first", "sleep 0.8; exit 7"), ("second", "sleep 600"), ("third", "sleep 0.8")):
        extra = ("--rm",) if name == "third" else ()
        stage.ok("run", "-d", *extra, "--name", name, STARTER, "/bin/sh", "-c", script)
    waiting = stage.client("wait", "first")
    inside = stage.client("exec", "second", "/bin/sh", "-c", "sleep 0.6; exit 4")
    time.sleep(0.3)
    os.kill(stage.engine.daemons()["hako-containerd"], signal.SIGSTOP)
    time.sleep(1)
    stage.kill("hako-containerd")
    assert waiting.communicate(timeout=15)[0] == "7\n"
    assert inside.wait(15) == 4
    stage.until("first", "exited 7")
    stage.until("third", "")
    assert stage.state("second") == "running 0"
    assert stage.ok("exec", "second", "/bin/echo", "on") == "on"
    stage.ok("stop", "-t", "0", "second")


def test_ends_are_known_while_the_manager_hangs(stage: Stage) -> None:
    """The shim tells the engine itself."""
    stage.ok("run", "-d", "--name", "one", STARTER, "/bin/sh", "-c", "sleep 1; exit 7")
    stage.ok("run", "-d", "--name", "two", STARTER, "/bin/sleep", "600")
    inside = stage.client("exec", "two", "/bin/sh", "-c", "sleep 0.6; exit 4")
    time.sleep(0.3)
    manager = stage.engine.daemons()["hako-containerd"]
    os.kill(manager, signal.SIGSTOP)
    try:
        assert inside.wait(15) == 4
        stage.until("one", "exited 7")
    finally:
        os.kill(manager, signal.SIGCONT)
    assert stage.ok("rm", "one") == "one"
    stage.ok("stop", "-t", "0", "two")


def test_verbs_wait_for_a_manager_that_comes_back(stage: Stage) -> None:
    stage.ok("create", "--name", "one", STARTER, "/bin/sleep", "600")
    for verb in (("start", "one"), ("pause", "one"), ("unpause", "one"), ("exec", "one", "/bin/true"),
                 ("top", "one"), ("kill", "one"), ("rm", "one"), ("run", "--rm", STARTER, "/bin/true")):  # fmt: skip
        stage.kill("hako-containerd")
        stage.ok(*verb)


def test_an_attached_run_outlives_the_manager(stage: Stage) -> None:
    run = stage.client("run", "--rm", "--name", "one", STARTER, "/bin/sh", "-c", "sleep 1; echo end; exit 3")
    stage.until("one", "running 0")
    stage.kill("hako-containerd")
    assert run.communicate(timeout=15)[0] == "end\n"
    assert run.returncode == 3
    stage.until("one", "")


def test_a_killed_zygote(stage: Stage) -> None:
    stage.ok("run", "-d", "--name", "one", STARTER, "/bin/sleep", "600")
    stage.kill("zygote")
    assert stage.state("one") == "running 0"
    assert stage.ok("run", "--rm", STARTER, "/bin/echo", "x") == "x"
    stage.ok("stop", "-t", "0", "one")
    assert stage.state("one") == "exited 137"


@pytest.mark.parametrize("extra", [(), ("--rm",)])
def test_a_killed_shim_ends_its_container(stage: Stage, extra: tuple[str, ...]) -> None:
    """Its clients' connections died with it, but a wait is answered all the same."""
    run = stage.client("run", *extra, "--name", "one", STARTER, "/bin/sleep", "600")
    stage.until("one", "running 0")
    waiting = stage.client("wait", "one")
    inside = stage.client("exec", "one", "/bin/sleep", "600")
    time.sleep(0.5)
    os.kill(stage.shim("one"), signal.SIGKILL)
    assert run.wait(10) == 137
    assert waiting.communicate(timeout=10)[0] == "137\n"
    assert inside.wait(10) == 137
    stage.until("one", "" if extra else "exited 137")


def test_a_killed_shims_container_starts_again_by_its_policy(stage: Stage) -> None:
    stage.ok("run", "-d", "--restart", "on-failure", "--name", "one", STARTER, "/bin/sleep", "600")
    before = stage.shim("one")
    os.kill(before, signal.SIGKILL)
    end = time.monotonic() + 10
    while stage.ok("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "one") != "1 running":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert stage.shim("one") != before


def test_a_run_asks_a_manager_that_dies_for_its_image(stage: Stage) -> None:
    """It hangs first, so that the question is under way when it is killed; the engine is new and knows nothing."""
    stage.ok("run", "-d", "--name", "kept", STARTER, "/bin/sleep", "600")  # or the manager would end, too
    stage.engine.terminate()
    stage.engine.start()
    pid = stage.engine.daemons()["hako-containerd"]
    os.kill(pid, signal.SIGSTOP)
    run = stage.client("run", "--rm", STARTER, "/bin/echo", "x")
    time.sleep(1)
    stage.kill("hako-containerd")
    assert run.communicate(timeout=30) == ("x\n", "")
