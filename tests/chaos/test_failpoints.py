"""Every step of a container's life, one by one: the process that does it dies right there.

The steps are collected from the source, so none is forgotten. Each time a container is made, started, waited for and
removed while the step is armed; who has died is started again. Then the container is whole or gone, can be started
and removed, its name can be had again, and nothing is left. The long run walks through all of them, `make test`
through a few, another selection each day (HAKO_CHAOS_SEED, HAKO_CHAOS_FAULTS: see Makefile).
"""

from __future__ import annotations

import os
import random
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.chaos.audit import Audit
from tests.chaos.conftest import STARTER, Finished, Stage

from hakobune.testing.engine import PrivateEngine

pytestmark = [pytest.mark.root, pytest.mark.slow]

SOURCE = Path(__file__).resolve().parents[2] / "src" / "hakobune"
POINTS = sorted(
    {
        name
        for path in SOURCE.glob("*/**/*.py")
        for name in re.findall(r'\breach\("([^"]+)"\)', path.read_text())
        if ".renew." not in name  # tests/integration/shim/test_renewal.py walks through these
        and ".pull." not in name  # tests/integration/containerd/test_pulling.py through these
        and ".commit." not in name  # tests/integration/engine/test_commit.py through these
        and not name.startswith("runtime.")  # the program's: tests/integration/runtime/test_verbs.py
    }
)
LONG = "HAKO_CHAOS_FAULTS" in os.environ
SEED = int(os.environ.get("HAKO_CHAOS_SEED", str(int(time.time() // 86400))))
FEW = 6
CHOSEN = POINTS if LONG else sorted(random.Random(SEED).sample(POINTS, FEW))

# whose death is the container's, too
CONTAINERS_OWN = ("shim.", "oci.", "zygote.bury.", "containerd.bury.")
QUICK, RESTING = "echo one; exit 3", "echo one; sleep 0.8; exit 3"
REST_SECONDS = "0.1"


@pytest.fixture(scope="module")
def armory() -> Iterator[Path]:
    """Where points are armed: a file for each. Mounted into the containers at the same path."""
    with tempfile.TemporaryDirectory(prefix="hk-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def engines(peer: Callable[[str], Path], armory: Path) -> Iterator[Callable[[], Stage]]:
    """The engine for all points, and another one after a test that has failed."""
    current: list[Stage] = []

    def stage() -> Stage:
        if current and current[-1].spoiled:
            current[-1].engine.stop(check=False)
        if not current or current[-1].spoiled:
            environment = {"HAKOBUNE_FAILPOINT": str(armory), "HAKOBUNE_REST_SECONDS": REST_SECONDS}
            engine = PrivateEngine(environment=environment)
            current.append(Stage(engine, str(peer("docker")), Audit(engine)))
            engine.start()
            current[-1].ok("run", "--rm", STARTER, "/bin/true")
        return current[-1]

    yield stage
    if current:
        current[-1].engine.stop(check=not current[-1].spoiled)


@pytest.fixture
def armed(engines: Callable[[], Stage], armory: Path) -> Iterator[Stage]:
    """An engine that is up; a step that was not reached is not armed for the next test."""
    stage = engines()
    stage.up()
    stage.spoiled = True
    yield stage
    for trap in armory.iterdir():
        trap.unlink()


def test_there_are_points_in_every_process() -> None:
    rooms = {point.partition(".")[0] for point in POINTS}
    assert rooms == {"engine", "net", "containerd", "zygote", "shim", "oci"}


@pytest.mark.parametrize("point", CHOSEN)
def test_killed_at(armed: Stage, armory: Path, point: str) -> None:
    trap = armory / point
    if ".bury." in point:
        _killed_shim(armed, armory, point)
    else:
        trap.touch()
        _live(armed, armory, point)
    assert not trap.exists(), f"{point} was never reached"
    armed.audit.note()
    _may_be_used(armed, point)
    if armed.state("one"):
        armed.ok("rm", "-v", "one")
    armed.ok("create", "--name", "one", STARTER, "/bin/true")  # the name is free
    armed.ok("rm", "one")
    assert armed.docker("volume", "rm", "-f", "data").returncode == 0
    assert armed.ok("volume", "ls", "-q") == ""
    assert armed.audit.leaked() == [], armed.engine.tail()
    armed.spoiled = False


def _create(stage: Stage, armory: Path, script: str) -> Finished:
    return stage.docker(
        "create", "--name", "one", "-v", "data:/data", "-v", "/nameless", "-v", f"{armory}:{armory}",
        "-p", "127.0.0.1::80", STARTER, "/bin/sh", "-c", script,
    )  # fmt: skip


def _live(stage: Stage, armory: Path, point: str) -> None:
    """The verbs; each may fail by the death. What is already an answer has to be right."""
    resting = ".move." in point or ".adopt." in point
    _create(stage, armory, RESTING if resting else QUICK)
    stage.up()
    stage.audit.note()
    if not stage.state("one"):
        assert _create(stage, armory, QUICK).returncode == 0
    ran = stage.docker("start", "-a", "one")
    stage.up()
    if ran.returncode == 3:
        assert ran.stdout == "one\n"
    _ended(stage, point)
    stage.docker("rm", "-v", "one")
    stage.up()


def _killed_shim(stage: Stage, armory: Path, point: str) -> None:
    assert _create(stage, armory, "echo one; sleep 600").returncode == 0
    stage.ok("start", "one")
    stage.audit.note()
    (armory / point).touch()
    os.kill(stage.shim("one"), signal.SIGKILL)
    _ended(stage, point)


def _ended(stage: Stage, point: str) -> None:
    """It runs no more, and what is said about it is true."""
    end = time.monotonic() + 15
    while not (state := stage.state("one")).startswith(("exited", "created")):
        stage.up()
        assert time.monotonic() < end, f"{point}: {state}\n{stage.engine.tail()}"
        time.sleep(0.02)
    status, _, code = state.partition(" ")
    lines = stage.docker("logs", "one").stdout
    legal = {"3"}
    if point.startswith(CONTAINERS_OWN):
        legal |= {"137", "128", "127", "255"}
    if status == "created" or (code == "128" and "start" in point):
        assert lines in ("", "one\n")  # it was not started, as far as anybody was told
        return
    assert status == "exited", state
    assert code in legal, f"{point}: {state}"
    assert lines in ({"one\n"} if code == "3" else {"", "one\n"})


def _may_be_used(stage: Stage, point: str) -> None:
    """Whole or gone: what is on record can be started to the end."""
    if not stage.state("one") or ".bury." in point:
        return
    again = stage.docker("start", "-a", "one")
    assert (again.returncode, again.stdout) == (3, "one\n"), f"{point}: {again.stderr}"
    stage.until("one", "exited 3")
