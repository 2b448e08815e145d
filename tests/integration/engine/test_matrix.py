"""hakod on every manager, every kind of shim and every runtime: what clients see is the same.

{hako-containerd, the real containerd} × {our shim, containerd-shim-runc-v2} × {built in, hako-runtime, runc}.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.conftest import STARTER

from hakobune.testing.containerd import RealContainerd
from hakobune.testing.engine import PrivateEngine
from hakobune.testing.peers import built
from hakobune.testing.processes import command_lines

pytestmark = [pytest.mark.root, pytest.mark.slow]

OWN_RUNTIME = str(Path(sys.executable).with_name("hako-runtime"))
RUNC = shutil.which("runc") or ""
SHIM = "io.containerd.runc.v2"
RUNTIMES = {
    "program": {"path": OWN_RUNTIME},
    "runc-shim-own": {"runtimeType": SHIM, "options": {"BinaryName": OWN_RUNTIME}},
    "runc-shim-runc": {"runtimeType": SHIM, "options": {"BinaryName": RUNC}},
}
NAMES = ("hako", "program", "runc", "runc-shim-own", "runc-shim-runc")
COUNTER = "i=0; while [ $i -lt 150 ]; do i=$((i+1)); echo $i; sleep 0.02; done; exit 6"


@dataclass
class Stack:
    """An engine and, if the manager is a real containerd, that."""

    engine: PrivateEngine
    real: RealContainerd | None

    def kill_everything(self) -> None:
        """And have new daemons."""
        self.engine.kill()
        if self.real is not None:
            self.real.kill()
        time.sleep(0.3)
        if self.real is not None:
            self.real.start()
        self.engine.start()

    def hako(self, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
        return self.engine.hako(*words, **options)

    def ok(self, *words: str, **options: object) -> str:
        done = self.hako(*words, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module", params=["hako-containerd", "containerd"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = tmp_path_factory.mktemp("etc") / "daemon.json"
    settings.write_text(json.dumps({"runtimes": RUNTIMES}))
    with contextlib.ExitStack() as made:
        real, words, environment = None, ["--config-file", str(settings)], {}
        if request.param == "containerd":
            program = built("containerd") or pytest.skip("peer not built: current containerd")
            real = made.enter_context(RealContainerd(program))
            words += ["--containerd", real.address]
            environment = {"HAKO_SHIM_STATE": str(real.base / "s")}
        engine = PrivateEngine(arguments=tuple(words), environment=environment)
        yield Stack(made.enter_context(engine), real)
    keepers = [
        line for _pid, line in command_lines() if "hakobune.cmd.keeper" in line and str(engine.root) in line
    ]
    assert not keepers


@pytest.fixture(params=NAMES)
def runtime(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if "runc" in name.removeprefix("runc-shim") and not RUNC:
        pytest.skip("peer not installed: runc")
    if name.startswith("runc-shim") and not shutil.which("containerd-shim-runc-v2"):
        pytest.skip("peer not installed: containerd-shim-runc-v2")
    return name


def test_the_life_of_a_container(stack: Stack, runtime: str) -> None:
    flags = ("--runtime", runtime)
    assert stack.ok("run", "--rm", *flags, STARTER, "sh", "-c", "echo $((6*7))") == "42"
    assert stack.ok("run", "--rm", "-i", *flags, STARTER, "cat", input="given\n") == "given"
    failed = stack.hako("run", "--rm", *flags, STARTER, "nope")
    assert (failed.returncode, "executable file not found" in failed.stderr) == (127, True)
    stack.ok("run", "-d", "--name", "one", *flags, "-p", "80", "--memory", "64m", STARTER,
             "sh", "-c", "echo begun; trap 'exit 5' TERM; while :; do sleep 0.05; done")  # fmt: skip
    assert stack.ok("inspect", "-f", "{{.HostConfig.Runtime}}", "one") == runtime
    assert stack.ok("exec", "one", "sh", "-c", "echo in $HOSTNAME").startswith("in ")
    assert stack.ok("exec", "-i", "one", "sh", "-c", "cat; exit 0", input="given\n") == "given"
    assert stack.hako("exec", "one", "sh", "-c", "exit 4").returncode == 4
    assert stack.hako("exec", "one", "nope").returncode == 127
    assert stack.ok("logs", "one") == "begun"
    stack.ok("pause", "one")
    assert stack.ok("inspect", "-f", "{{.State.Status}}", "one") == "paused"
    stack.ok("unpause", "one")
    stack.ok("stop", "one")
    assert stack.ok("inspect", "-f", "{{.State.ExitCode}}", "one") == "5"
    stack.ok("start", "one")
    stack.ok("rm", "-f", "one")


def test_a_time_limit_needs_our_shim(stack: Stack) -> None:
    refused = stack.hako("run", "--rm", "--timeout", "5", "--runtime", SHIM, STARTER, "true")
    assert (refused.returncode, "runtime io.containerd.runc.v2 has another" in refused.stderr) == (125, True)
    assert stack.ok("ps", "-aq") == ""


def test_a_terminal(stack: Stack, runtime: str) -> None:
    line = [sys.executable, "-I", "-m", "hakobune.cmd.hako", "-H", stack.engine.host, "run", "--rm", "-it",
            "--runtime", runtime, STARTER, "sh", "-c", "stty size; read x; echo got $x; exit 9"]  # fmt: skip
    pid, master = os.forkpty()
    if pid == 0:
        os.execv(line[0], line)
    os.write(master, b"word\n")
    seen = b""
    with contextlib.suppress(OSError):
        while data := os.read(master, 4096):
            seen += data
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert b"got word" in seen
    os.close(master)


def test_everything_above_is_killed(stack: Stack, runtime: str) -> None:
    """The container counts on, its log has no gap, a client that waits gets the right code from the new daemons."""
    stack.ok("run", "-d", "--name", "count", "--runtime", runtime, STARTER, "sh", "-c", COUNTER)
    stack.ok("run", "-d", "--name", "stays", "--runtime", runtime, STARTER, "sleep", "600")
    pid = stack.ok("inspect", "-f", "{{.State.Pid}}", "stays")
    words = [sys.executable, "-I", "-m", "hakobune.cmd.hako", "-H", stack.engine.host, "wait", "count"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as waiting:
        time.sleep(0.5)
        stack.kill_everything()
        assert waiting.communicate(timeout=60)[0].strip() == "6"
    assert stack.ok("logs", "count").split() == [str(number) for number in range(1, 151)]
    assert stack.ok("inspect", "-f", "{{.State.Running}} {{.State.Pid}}", "stays") == f"true {pid}"
    assert stack.ok("exec", "stays", "echo", "here") == "here"
    stack.ok("kill", "stays")
    assert stack.ok("wait", "stays") == "137"
    stack.ok("rm", "stays", "count")


def test_a_keeper_outlives_an_orderly_restart(stack: Stack) -> None:
    """It is the same process afterwards, and an attached client has noticed nothing."""
    if not shutil.which("containerd-shim-runc-v2") or not RUNC:
        pytest.skip("peer not installed: containerd-shim-runc-v2, runc")
    words = [sys.executable, "-I", "-m", "hakobune.cmd.hako", "-H", stack.engine.host, "run", "--name", "count",
             "--runtime", "runc-shim-runc", STARTER, "sh", "-c", COUNTER]  # fmt: skip
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        client.stdout.readline()
        before = _keepers(stack)
        stack.engine.terminate()
        stack.engine.start()
        assert _keepers(stack) == before
        assert len(before) == 1
        assert client.stdout.read().split() == [str(number) for number in range(2, 151)]
        assert client.wait(60) == 6
    stack.ok("rm", "count")


def _keepers(stack: Stack) -> list[int]:
    root = str(stack.engine.root)
    return [pid for pid, line in command_lines() if "hakobune.cmd.keeper" in line and root in line]


def test_a_killed_keeper_is_replaced(stack: Stack) -> None:
    if not shutil.which("containerd-shim-runc-v2") or not RUNC:
        pytest.skip("peer not installed: containerd-shim-runc-v2, runc")
    stack.ok("run", "-d", "--name", "count", "--runtime", "runc-shim-runc", STARTER, "sh", "-c", COUNTER)
    time.sleep(0.5)
    (keeper,) = _keepers(stack)
    os.kill(keeper, signal.SIGKILL)
    assert stack.ok("wait", "count") == "6"
    assert stack.ok("logs", "count").split() == [str(number) for number in range(1, 151)]
    stack.ok("rm", "count")
