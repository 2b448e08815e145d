"""`hako system upgrade`: every process of ours goes on as newer code, and no container or client notices."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.conftest import STARTER

from hakobune.testing import installation
from hakobune.testing.engine import PrivateEngine
from hakobune.version import VERSION

pytestmark = [pytest.mark.root, pytest.mark.slow]

NEXT = "9.9.9"
SECONDS = 30.0
COUNTER = "i=0; while [ $i -lt 600 ]; do i=$((i+1)); echo $i; sleep 0.02; done; exit 6"


@pytest.fixture(scope="module")
def newer() -> Iterator[Path]:
    """The directory of a newer installation."""
    with tempfile.TemporaryDirectory(prefix="hi-", dir="/tmp") as directory:
        installation.copy(Path(directory) / "next", NEXT)
        yield Path(directory) / "next"


@pytest.fixture
def engine() -> Iterator[PrivateEngine]:
    with PrivateEngine(environment={"HAKOBUNE_REST_SECONDS": "0.5"}) as running:
        yield running


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def pid_of(engine: PrivateEngine, name: str) -> str:
    return ok(engine.hako("inspect", "-f", "{{.State.Pid}}", name))


def upgrade(engine: PrivateEngine, installed: Path) -> subprocess.CompletedProcess[str]:
    return engine.hako("system", "upgrade", "--python", str(installed / "bin/python"))


@contextlib.contextmanager
def begun(engine: PrivateEngine, *arguments: str, terminal: int = -1) -> Iterator[subprocess.Popen[bytes]]:
    """`hako …` in the background, on a terminal or with its output captured."""
    line = [sys.executable, "-I", "-m", "hakobune.cmd.hako", "-H", engine.host, *arguments]
    ends = (subprocess.PIPE, subprocess.PIPE, subprocess.STDOUT) if terminal < 0 else (terminal,) * 3
    with subprocess.Popen(
        line, stdin=ends[0], stdout=ends[1], stderr=ends[2], start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_everything_goes_on_as_the_new_release(engine: PrivateEngine, newer: Path) -> None:
    ok(engine.hako("run", "-d", "--name", "count", "--network", "none", STARTER, "sh", "-c", COUNTER))
    ok(engine.hako("run", "-d", "--name", "asleep", "-p", "127.0.0.1::80", STARTER, "sleep", "600"))
    with (
        begun(engine, "wait", "count") as waits,
        begun(engine, "run", "-i", "--name", "piped", "--network", "none", STARTER,
              "sh", "-c", "while read x; do echo got $x; done; exit 5") as attached,
    ):  # fmt: skip
        assert attached.stdin is not None
        assert attached.stdout is not None
        attached.stdin.write(b"one\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == b"got one\n"
        before = {name: pid_of(engine, name) for name in ("count", "asleep", "piped")}
        daemons = engine.daemons()
        port = ok(engine.hako("port", "asleep"))
        lines = ok(upgrade(engine, newer)).splitlines()
        change = f"{VERSION} -> {NEXT}"
        assert lines[:3] == [f"hakod: {change}", f"hako-containerd: {change}", f"zygote: {change}"]
        assert len([line for line in lines if line.startswith("shim ") and line.endswith(NEXT)]) == 3
        assert lines[-1] == "3 containers were running, 3 of them untouched"
        assert engine.daemons()["hakod"] == daemons["hakod"]  # the same process
        assert NEXT in ok(engine.hako("version"))
        assert {name: pid_of(engine, name) for name in before} == before
        assert ok(engine.hako("port", "asleep")) == port
        attached.stdin.write(b"two\n")
        attached.stdin.close()
        assert attached.stdout.read() == b"got two\n"
        assert attached.wait(SECONDS) == 5
        assert ok(engine.hako("exec", "asleep", "echo", "here")) == "here"
        assert waits.stdout is not None
        assert waits.stdout.read() == b"6\n"
    assert ok(engine.hako("logs", "count")).split() == [str(number) for number in range(1, 601)]
    ok(engine.hako("run", "--rm", STARTER, "true"))
    ok(engine.hako("rm", "-f", "asleep"))


def test_a_terminal_and_its_client(engine: PrivateEngine, newer: Path) -> None:
    master, slave = pty.openpty()
    script = "while read x; do echo [$x]; done; exit 3"
    with begun(engine, "run", "-it", "--name", "tty", STARTER, "sh", "-c", script, terminal=slave) as client:
        os.close(slave)
        os.write(master, b"one\n")
        assert b"[one]" in read_until(master, b"[one]")
        ok(upgrade(engine, newer))
        os.write(master, b"two\n")
        assert b"[two]" in read_until(master, b"[two]")
        os.write(master, b"\x04")
        assert client.wait(SECONDS) == 3
    os.close(master)
    ok(engine.hako("rm", "tty"))


def read_until(fd: int, text: bytes) -> bytes:
    found, end = b"", time.monotonic() + SECONDS
    while text not in found and time.monotonic() < end:
        if select.select([fd], [], [], 0.1)[0]:
            found += os.read(fd, 4096)
    return found


def test_code_that_is_broken_changes_nothing(engine: PrivateEngine, newer: Path, tmp_path: Path) -> None:
    broken = installation.copy(tmp_path / "broken", "8.8.8").parents[1]
    (place,) = broken.glob("lib/python*/site-packages/hakobune/engine/app.py")
    place.write_text("raise SystemExit('half an installation')\n")
    ok(engine.hako("run", "-d", "--name", "one", STARTER, "sleep", "600"))
    before, daemons = pid_of(engine, "one"), engine.daemons()
    done = upgrade(engine, broken)
    assert done.returncode == 1
    assert "half an installation" in done.stderr
    assert engine.daemons() == daemons
    assert f"{VERSION}" in ok(engine.hako("version"))
    done = engine.hako("system", "upgrade", "--python", "/nowhere/python")
    assert (done.returncode, done.stdout) == (1, "")
    assert "/nowhere/python" in done.stderr
    assert pid_of(engine, "one") == before
    assert ok(upgrade(engine, newer)).splitlines()[-1] == "1 containers were running, 1 of them untouched"
    ok(engine.hako("rm", "-f", "one"))


def test_an_engine_that_cannot_come_up_is_the_old_one_again(engine: PrivateEngine, tmp_path: Path) -> None:
    """The check does not see everything: the new program fails when it opens its store."""
    late = installation.copy(tmp_path / "late", "8.8.8").parents[1]
    (place,) = late.glob("lib/python*/site-packages/hakobune/engine/app.py")
    place.write_text(place.read_text().replace(
        "    def _open_rooms(self) -> None:\n",
        '    def _open_rooms(self) -> None:\n        raise FailedPrecondition("not today")\n'))  # fmt: skip
    ok(engine.hako("run", "-d", "--name", "one", STARTER, "sleep", "600"))
    before = pid_of(engine, "one")
    done = upgrade(engine, late)
    assert done.returncode == 1
    assert "hakod: goes on as it was: not today" in done.stdout
    assert f"{VERSION}" in ok(engine.hako("version"))
    assert pid_of(engine, "one") == before
    assert ok(engine.hako("exec", "one", "echo", "here")) == "here"
    ok(engine.hako("rm", "-f", "one"))


@pytest.mark.parametrize("victim", ["hakod", "hako-containerd", "zygote"])
def test_killed_in_the_middle(engine: PrivateEngine, newer: Path, victim: str) -> None:
    """Whenever it is: the containers run on, and a second attempt goes through."""
    ok(engine.hako("run", "-d", "--name", "count", STARTER, "sh", "-c", COUNTER))
    ok(engine.hako("run", "-d", "--name", "asleep", STARTER, "sleep", "600"))
    before = {name: pid_of(engine, name) for name in ("count", "asleep")}
    with begun(engine, "system", "upgrade", "--python", str(newer / "bin/python")) as going:
        time.sleep(1.0)
        with contextlib.suppress(ProcessLookupError, KeyError):
            os.kill(engine.daemons()[victim], signal.SIGKILL)
        going.communicate(timeout=60)
    if victim == "hakod":
        assert engine.process is not None
        engine.process.wait(SECONDS)
        engine.start()
    end = time.monotonic() + SECONDS
    while (done := upgrade(engine, newer)).returncode and time.monotonic() < end:
        time.sleep(0.5)
    assert ok(done).splitlines()[-1] == "2 containers were running, 2 of them untouched"
    assert {name: pid_of(engine, name) for name in before} == before
    assert ok(engine.hako("wait", "count")) == "6"
    assert ok(engine.hako("logs", "count")).split() == [str(number) for number in range(1, 601)]
    ok(engine.hako("rm", "-f", "count", "asleep"))
