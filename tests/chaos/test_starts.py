"""Engines that cannot start, or are told to end while they start: a clear word, and nothing left."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hakobune.testing.engine import PrivateEngine
from hakobune.testing.processes import command_lines

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def first() -> Iterator[PrivateEngine]:
    """An engine that was there before."""
    with PrivateEngine() as running:
        yield running


@pytest.fixture
def second() -> Iterator[PrivateEngine]:
    """Another, not started; nothing of it may be left, however its start went."""
    made = PrivateEngine()
    yield made
    left = made.leftovers()
    made.stop(check=False)
    assert left == []


def run(engine: PrivateEngine, *flags: str, seconds: float = 20) -> tuple[int, str]:
    """Start hakod in the foreground with flags in place of the engine's own; its exit code and last words."""
    command = engine.command()
    for name, value in zip(flags[::2], flags[1::2], strict=True):
        command[command.index(name) + 1] = value
    with tempfile.TemporaryFile("w+") as output:
        code = subprocess.run(
            command, stdout=output, stderr=output, timeout=seconds, start_new_session=True, check=False
        ).returncode
        output.seek(0)
        return code, output.read()


@pytest.mark.parametrize(("flag", "below"), [("--data-root", "d"), ("--exec-root", "e")])
def test_two_engines_of_one_root(first: PrivateEngine, second: PrivateEngine, flag: str, below: str) -> None:
    root = str(first.root / below)
    assert run(second, flag, root) == (1, f"hakod: {root} is in use by another hakod\n")
    assert first.client.get("/_ping") == "OK"


def test_a_socket_in_use(first: PrivateEngine, second: PrivateEngine) -> None:
    code, said = run(second, "-H", first.host)
    assert code == 1
    assert f"hakod: cannot listen on {first.socket}: another daemon listens there\n" in said
    assert first.client.get("/_ping") == "OK"


def test_a_bridge_in_use(first: PrivateEngine, second: PrivateEngine) -> None:
    code, said = run(second, "--bridge", first.bridge)
    assert code == 1
    assert f"hakod: bridge {first.bridge} is used by another program or engine\n" in said
    second.start()  # with a bridge of its own: what it remembers of the other one is not its to take away
    second.terminate()
    assert Path(f"/sys/class/net/{first.bridge}").exists()
    if program := shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin"):
        tables = subprocess.run(
            [program, "list", "tables"], capture_output=True, text=True, check=True
        ).stdout
        assert f"hakobune-{first.bridge}" in tables


def test_roots_that_cannot_be(second: PrivateEngine) -> None:
    assert run(second, "--data-root", "/proc/nothing")[0] == 1
    code, said = run(second, "--exec-root", str(second.root / ("e" * 90)))
    assert (code, "--exec-root" in said, "Traceback" in said) == (1, True, False)


def test_sigterm_at_any_moment_of_a_start(second: PrivateEngine) -> None:
    for hundredths in range(5, 90, 10):
        with second.log.open("ab") as log:
            process = subprocess.Popen(second.command(), stdout=log, stderr=log, start_new_session=True)
        time.sleep(hundredths / 100)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)
        left = [line for _pid, line in command_lines() if str(second.root) in line and "hakobune.cmd" in line]
        assert left == []
        assert not Path(f"/sys/class/net/{second.bridge}").exists()


def test_two_engines_race_for_a_port(first: PrivateEngine, second: PrivateEngine) -> None:
    second.start()
    for engine in (first, second):
        assert engine.hako("run", "--rm", "hako/starter", "/bin/true").returncode == 0
    line = ("run", "-d", "-p", "127.0.0.1:18097:80", "hako/starter", "/bin/sleep", "600")
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda number: (first, second)[number % 2].hako(*line), range(6)))
    assert sorted(one.returncode for one in done) == [0, 125, 125, 125, 125, 125]
    assert all("address already in use" in one.stderr for one in done if one.returncode)
    for engine in (first, second):
        if ids := engine.hako("ps", "-aq").stdout.split():
            assert engine.hako("rm", "-f", *ids).returncode == 0
    second.terminate()
