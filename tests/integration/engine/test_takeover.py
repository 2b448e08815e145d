"""Both daemons are killed with SIGKILL while containers run: nothing notices, and new daemons take over."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.conftest import STARTER, Docker

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.processes import kill_and_wait

pytestmark = [pytest.mark.root, pytest.mark.slow]

COUNT = "i=0; while [ $i -lt {n} ]; do i=$((i+1)); echo $i; sleep 0.02; done; exit 6"


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_counter_goes_on_without_a_gap(docker: Docker, engine: PrivateEngine) -> None:
    identity = ok(docker("run", "-d", STARTER, "/bin/sh", "-c", COUNT.format(n=200)))
    time.sleep(0.5)
    engine.kill()
    time.sleep(0.5)
    engine.start()
    assert ok(docker("wait", identity)) == "6"
    assert ok(docker("logs", identity)).split() == [str(number) for number in range(1, 201)]
    ok(docker("rm", identity))


def test_an_end_that_no_daemon_saw(docker: Docker, engine: PrivateEngine) -> None:
    identity = ok(docker("run", "-d", STARTER, "/bin/sh", "-c", "sleep 0.7; exit 9"))
    engine.kill()
    time.sleep(1)
    engine.start()
    assert ok(docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", identity)) == "exited 9"
    ok(docker("rm", identity))


def test_an_attached_run_gets_everything_and_the_exit_code(
    docker: Docker, engine: PrivateEngine, peer: Callable[[str], Path]
) -> None:
    environment = {**os.environ, "DOCKER_HOST": engine.host}
    command = [
        str(peer("docker")),
        "run",
        "-i",
        "--network",
        "none",
        "--name",
        "attached",
        STARTER,
        "/bin/sh",
        "-c",
    ]
    run = subprocess.Popen(
        [*command, COUNT.format(n=100)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 10
    while not docker("ps", "-q", "--filter", "name=attached").stdout and time.monotonic() < deadline:
        time.sleep(0.02)
    engine.kill()
    output, _ = run.communicate(timeout=20)
    assert output.split() == [str(number) for number in range(1, 101)]
    assert run.returncode == 6
    engine.start()
    ok(docker("rm", "attached"))


def test_rm_of_a_run_that_outlived_its_daemon(docker: Docker, engine: PrivateEngine) -> None:
    identity = ok(docker("run", "-d", "--rm", STARTER, "/bin/sleep", "0.6"))
    engine.kill()
    time.sleep(1)
    engine.start()
    assert docker("inspect", identity).returncode == 1


def test_published_ports_and_stop_after_takeover(docker: Docker, engine: PrivateEngine) -> None:
    identity = ok(docker("run", "-d", "-p", "127.0.0.1::80", STARTER, "/bin/sleep", "600"))
    port = ok(docker("port", identity))
    engine.kill()
    engine.start()
    assert ok(docker("port", identity)) == port
    assert docker("exec", identity, "/bin/true").returncode == 0
    ok(docker("stop", "-t", "0", identity))
    ok(docker("rm", identity))


def test_a_restart_by_sigterm_is_a_takeover_too(docker: Docker, engine: PrivateEngine) -> None:
    identity = ok(docker("run", "-d", STARTER, "/bin/sleep", "600"))
    pid = ok(docker("inspect", "-f", "{{.State.Pid}}", identity))
    engine.terminate()
    engine.start()
    assert ok(docker("inspect", "-f", "{{.State.Running}} {{.State.Pid}}", identity)) == f"true {pid}"
    ok(docker("rm", "-f", identity))


def test_creates_that_are_cut_leave_nothing(docker: Docker, engine: PrivateEngine) -> None:
    """hakod is killed while clients create: what has no record has no snapshot, directory or volume user either."""
    for round_ in range(4):
        makers = [
            subprocess.Popen(
                ["docker", "create", "-v", "cut:/data", STARTER, "/bin/true"],
                env={**os.environ, "DOCKER_HOST": engine.host}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for _ in range(6)
        ]  # fmt: skip
        time.sleep(0.05 + 0.03 * round_)
        engine.kill()
        for maker in makers:
            maker.wait(10)
        engine.start()
    known = set(engine.containers())
    assert {entry.name for entry in (engine.root / "d" / "containers").iterdir()} == known
    for identity in known:
        ok(docker("rm", identity))
    assert docker("volume", "rm", "-f", "cut").returncode == 0


def test_a_hundred_are_taken_over(engine: PrivateEngine) -> None:
    """Manager, engine and zygote are killed; the next ones know all, by the same process ids, and end all."""
    client = engine.client
    body = {"Image": STARTER, "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "none"}}
    ids = [client.post("/containers/create", body)["Id"] for _ in range(100)]
    for identity in ids:
        client.post(f"/containers/{identity}/start")

    def standing() -> dict[str, int]:
        documents = (client.get(f"/containers/{identity}/json") for identity in ids)
        return {one["Id"]: one["State"]["Pid"] for one in documents if one["State"]["Status"] == "running"}

    before = standing()
    assert sorted(before) == sorted(ids)
    zygote = engine.daemons()["zygote"]
    engine.kill()
    kill_and_wait(zygote)
    assert engine.daemons() == {}
    engine.start()
    listed = client.get("/containers/json")
    assert {one["Id"] for one in listed if one["State"] == "running"} >= set(ids)
    assert standing() == before
    for identity in ids:
        client.delete(f"/containers/{identity}?force=1")
    assert not set(engine.containers()) & set(ids)
