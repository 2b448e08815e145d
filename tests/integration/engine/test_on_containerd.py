"""hakod on the real containerd (`--containerd`), Debian's and a current one, with our shims: what clients see is the same."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.conftest import STARTER

from hakobune.testing import installation
from hakobune.testing.containerd import RealContainerd
from hakobune.testing.engine import PrivateEngine
from hakobune.version import VERSION

pytestmark = [pytest.mark.root, pytest.mark.slow]

COUNTER = "i=0; while [ $i -lt 150 ]; do i=$((i+1)); echo $i; sleep 0.02; done; exit 6"


@pytest.fixture(scope="module")
def engine(real: RealContainerd) -> Iterator[PrivateEngine]:
    environment = {"HAKO_SHIM_STATE": str(real.base / "s")}  # as the shims' own, which containerd starts
    with PrivateEngine(arguments=("--containerd", real.address), environment=environment) as running:
        yield running


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_the_life_of_a_container(engine: PrivateEngine) -> None:
    assert ok(engine.hako("run", "--rm", STARTER, "sh", "-c", "echo $((6*7))")) == "42"
    assert engine.hako("run", "--rm", STARTER, "sh", "-c", "exit 3").returncode == 3
    assert engine.hako("run", "--rm", STARTER, "nope").returncode == 127
    ok(engine.hako("run", "-d", "--name", "one", "-v", "kept:/kept", "-p", "80", "--memory", "64m", STARTER,
                   "sh", "-c", "echo begun; trap 'exit 5' TERM; while :; do sleep 0.05; done"))  # fmt: skip
    assert ok(engine.hako("exec", "one", "sh", "-c", "echo $HOSTNAME > /kept/file; echo in")) == "in"
    assert ok(engine.hako("logs", "one")) == "begun"
    assert ok(engine.hako("exec", "-i", "one", "cat", input="given\n")) == "given"
    ok(engine.hako("pause", "one"))
    assert ok(engine.hako("inspect", "-f", "{{.State.Status}}", "one")) == "paused"
    ok(engine.hako("unpause", "one"))
    ok(engine.hako("stop", "one"))
    assert ok(engine.hako("inspect", "-f", "{{.State.ExitCode}}", "one")) == "5"
    ok(engine.hako("start", "one"))
    ok(engine.hako("restart", "-t", "5", "one"))
    ok(engine.hako("rm", "-f", "one"))
    assert len(ok(engine.hako("run", "--rm", "-v", "kept:/kept", STARTER, "cat", "/kept/file"))) == 12
    ok(engine.hako("volume", "rm", "kept"))


def test_a_registry_needs_containerd_2(engine: PrivateEngine, real: RealContainerd) -> None:
    """An older one has nobody who could transfer, and that is what the answer says."""
    version = subprocess.run([real._program, "--version"], capture_output=True, text=True, check=True).stdout
    words = "containerd 2.0 or later" if "1.6" in version else "connection refused"
    for _ in range(5):  # one call in four meets its end while it is being written
        done = engine.hako("pull", "localhost:1/some/app:1")
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr


def test_everything_is_killed(engine: PrivateEngine, real: RealContainerd) -> None:
    """hakod and containerd: the container counts on, and new daemons find it."""
    ok(engine.hako("run", "-d", "--name", "count", STARTER, "sh", "-c", COUNTER))
    ok(engine.hako("run", "-d", "--name", "stays", STARTER, "sleep", "600"))
    pid = ok(engine.hako("inspect", "-f", "{{.State.Pid}}", "stays"))
    engine.kill()
    real.kill()
    time.sleep(0.5)
    real.start()
    engine.start()
    assert ok(engine.hako("wait", "count")) == "6"
    assert ok(engine.hako("logs", "count")).split() == [str(number) for number in range(1, 151)]
    assert ok(engine.hako("inspect", "-f", "{{.State.Running}} {{.State.Pid}}", "stays")) == f"true {pid}"
    assert ok(engine.hako("exec", "stays", "echo", "here")) == "here"
    ok(engine.hako("rm", "-f", "stays", "count"))


def test_containerd_alone_is_replaced(engine: PrivateEngine, real: RealContainerd) -> None:
    ok(engine.hako("run", "-d", "--name", "stays", STARTER, "sleep", "600"))
    real.kill()
    real.start()
    end = time.monotonic() + 30
    while (done := engine.hako("exec", "stays", "echo", "here")).returncode and time.monotonic() < end:
        time.sleep(0.2)
    assert ok(done) == "here"
    ok(engine.hako("rm", "-f", "stays"))
    ok(engine.hako("run", "--rm", STARTER, "true"))


def test_upgrade_in_place(engine: PrivateEngine, tmp_path: Path) -> None:
    """The engine and the shims go on as newer code; containerd is not ours."""
    python = installation.copy(tmp_path / "next", "9.9.9")
    ok(engine.hako("run", "-d", "--name", "count", STARTER, "sh", "-c", COUNTER.replace("150", "600")))
    lines = ok(engine.hako("system", "upgrade", "--python", str(python))).splitlines()
    assert lines[0] == f"hakod: {VERSION} -> 9.9.9"
    assert lines[1].startswith("containerd: ")
    assert lines[1].endswith("(not this engine's own)")
    assert lines[2].startswith("zygote z-")
    assert [line.rpartition(" ")[2] for line in lines[2:-1]] == ["9.9.9"] * 2
    assert lines[-1] == "1 containers were running, 1 of them untouched"
    assert ok(engine.hako("wait", "count")) == "6"
    assert ok(engine.hako("logs", "count")).split() == [str(number) for number in range(1, 601)]
    ok(engine.hako("rm", "count"))
