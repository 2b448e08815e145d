"""Ends that nobody inside asked for: memory that ran out, time that is over, a shim that was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.integration.conftest import STARTER, Docker

from hakobune.testing.engine import PrivateEngine

pytestmark = [pytest.mark.root, pytest.mark.slow]

EAT = "sh -c 'x=a; while :; do x=$x$x; done'"
LITTLE = ("--memory", "16m", "--memory-swap", "16m")


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def state(docker: Docker, name: str, *keys: str) -> str:
    form = " ".join(f"{{{{.State.{key}}}}}" for key in keys)
    return ok(docker("inspect", "-f", form, name))


def until(docker: Docker, name: str, wanted: str, *keys: str, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while (found := state(docker, name, *keys)) != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.05)


def test_memory_of_a_child_runs_out(docker: Docker) -> None:
    """The container lives on; inspect and events tell."""
    since = str(time.time())
    ok(docker("run", "-d", "--name", "one", *LITTLE, STARTER, "/bin/sh", "-c", f"{EAT}; exec sleep 60"))
    until(docker, "one", "running true", "Status", "OOMKilled")
    told = ok(
        docker(
            "events",
            "--since",
            since,
            "--until",
            str(time.time()),
            "--filter",
            "event=oom",
            "--format",
            "json",
        )
    )
    assert [json.loads(line)["Actor"]["Attributes"]["name"] for line in told.splitlines()] == ["one"]
    ok(docker("restart", "-t", "0", "one"))
    until(docker, "one", "running true", "Status", "OOMKilled")
    ok(docker("rm", "-f", "one"))


def test_memory_of_init_runs_out(docker: Docker) -> None:
    done = docker("run", "--name", "one", *LITTLE, STARTER, "/bin/sh", "-c", f"exec {EAT}")
    assert done.returncode == 137
    assert state(docker, "one", "Status", "ExitCode", "OOMKilled") == "exited 137 true"
    ok(docker("rm", "one"))
    ok(docker("run", "--name", "one", *LITTLE, STARTER, "/bin/true"))
    assert state(docker, "one", "Status", "ExitCode", "OOMKilled") == "exited 0 false"
    ok(docker("rm", "one"))


def test_memory_runs_out_while_no_daemon_looks(docker: Docker, engine: PrivateEngine) -> None:
    for name, rest in (("lives", "exec sleep 60"), ("dies", "exit 4")):
        script = f"sleep 1; {EAT}; {rest}"
        ok(docker("run", "-d", "--name", name, *LITTLE, STARTER, "/bin/sh", "-c", script))
    engine.kill()
    time.sleep(2)
    engine.start()
    assert state(docker, "lives", "Status", "OOMKilled") == "running true"
    assert state(docker, "dies", "Status", "ExitCode", "OOMKilled") == "exited 4 true"
    ok(docker("rm", "-f", "lives", "dies"))


def test_a_time_limit_outlives_the_daemons(docker: Docker, engine: PrivateEngine) -> None:
    line = (
        "run",
        "-d",
        "--name",
        "one",
        "--timeout",
        "2",
        STARTER,
        "/bin/sh",
        "-c",
        "trap '' TERM; sleep 60",
    )
    assert engine.hako(*line).returncode == 0
    engine.kill()
    os.kill(engine.daemons()["zygote"], signal.SIGKILL)
    time.sleep(2.5)
    engine.start()
    assert state(docker, "one", "Status", "ExitCode", "OOMKilled") == "exited 137 false"
    ok(docker("rm", "one"))


def test_a_time_limit_of_an_attached_run(docker: Docker, engine: PrivateEngine) -> None:
    began = time.monotonic()
    done = engine.hako("run", "--rm", "--timeout", "1", STARTER, "/bin/sh", "-c", "echo x; sleep 60")
    assert (done.returncode, done.stdout) == (137, "x\n")
    assert 1.0 <= time.monotonic() - began < 15
    assert engine.hako("run", "--rm", "--timeout", "9", STARTER, "/bin/true").returncode == 0
    refused = docker("create", "--annotation", "io.hakobune.timeout=soon", STARTER)
    assert refused.returncode == 1
    assert "annotation io.hakobune.timeout: 'soon' is no number of seconds" in refused.stderr


def test_a_killed_shim_is_named_as_the_reason(docker: Docker, engine: PrivateEngine) -> None:
    ok(docker("run", "-d", "--name", "one", STARTER, "/bin/sleep", "60"))
    ok(docker("run", "-d", "--name", "other", STARTER, "/bin/sleep", "60"))
    reason = "its shim was killed, and the container with it"

    def shim() -> int:
        pid = state(docker, "one", "Pid")
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    os.kill(shim(), signal.SIGKILL)
    until(docker, "one", f"exited 137 {reason}", "Status", "ExitCode", "Error")
    ok(docker("start", "one"))
    assert state(docker, "one", "Status", "Error") == "running"
    pid = shim()
    engine.kill()
    os.kill(pid, signal.SIGKILL)
    engine.start()
    until(docker, "one", f"exited 137 {reason}", "Status", "ExitCode", "Error")
    assert state(docker, "other", "Status", "Error") == "running"
    ok(docker("kill", "other"))
    assert state(docker, "other", "Status", "ExitCode", "Error") == "exited 137"
    ok(docker("rm", "one", "other"))
