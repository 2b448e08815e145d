"""The demo's stage, its looks at the host, and how it ends when something is not so."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hakobune.cli.demo import host, peers, story, times
from hakobune.cli.demo.stage import Stage, StoryFailed


class Engine:
    """An engine that only remembers what was asked of it."""

    def __init__(self, root: Path, *, leaves: str = "") -> None:
        self.root = root
        self.host = "unix:///nowhere"
        self.bridge = "hk-none"
        self.asked: list[str] = []
        self._leaves = leaves

    def start(self) -> None:
        self.asked.append("start")

    def kill(self) -> list[int]:
        return []

    def daemons(self) -> dict[str, int]:
        return {}

    def stop(self, *, check: bool = True) -> None:
        self.asked.append("stop")
        if self._leaves:
            raise AssertionError(self._leaves)


PROGRAM = [
    sys.executable,
    "-c",
    "import os,sys; print(os.environ['DOCKER_HOST'], *sys.argv[1:]); sys.exit(len(sys.argv) - 2)",
]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(Engine(tmp_path), PROGRAM)


def test_a_command_stands_beside_dockers_spelling(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.hako("ps") == "unix:///nowhere ps\n"
    out = capsys.readouterr().out
    assert "$ hako ps" in out
    assert "# docker ps" in out.splitlines()[0]
    assert "unix:///nowhere ps" in out


def test_a_long_command_is_continued(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.width = 40
    stage.hako("run", "--rm", "hako/starter", "sh", "-c", "echo one; exit 3", fine=(5,))
    assert capsys.readouterr().out.splitlines()[:4] == [
        "   $ hako run --rm hako/starter sh -c \\",
        "     'echo one; exit 3'",
        "   # docker run --rm hako/starter sh \\",
        "     -c 'echo one; exit 3'",
    ]


def test_narration_fits_the_terminal(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.width = 30
    stage.tell("All hands on deck, the anchor is coming up")
    assert capsys.readouterr().out == "   All hands on deck, the\n   anchor is coming up\n"


class Peer:
    """Remembers what was asked of it; `fails` names the step that does."""

    def __init__(self, name: str, *, missing: str = "", fails: str = "") -> None:
        self.name = name
        self.missing = missing
        self.host = "unix:///nowhere"
        self.asked: list[str] = []
        self._fails = fails

    def _do(self, step: str) -> None:
        self.asked.append(step)
        if step == self._fails:
            raise RuntimeError(f"no {step}\ntoday")

    def launch(self) -> None:
        self._do("launch")

    def wait_ready(self, seconds: float) -> str:
        assert seconds > 0
        self._do("wait")
        return "20.10.24+dfsg1"

    def stop(self) -> None:
        self._do("stop")


def test_peers_that_fail_get_a_sentence_and_are_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "_give_image", lambda _client: None)
    absent, lame = Peer("Absent", missing="not installed"), Peer("Lame", fails="launch")
    slow, well = Peer("Slow", fails="wait"), Peer("Well")
    stage = Stage(Engine(tmp_path), PROGRAM, [absent, lame, slow, well])
    with peers.running(stage) as found:
        assert list(found) == ["Well 20.10"]
    assert capsys.readouterr().out.splitlines() == [
        "   (Absent is not in the table: not installed)",
        "   (Lame is not in the table: no launch today)",
        "   (Slow is not in the table: no wait today)",
    ]
    assert stage.failed == []
    assert [one.asked for one in (absent, lame, slow, well)] == [
        [], ["launch", "stop"], ["launch", "wait", "stop"], ["launch", "wait", "stop"],
    ]  # fmt: skip


def test_an_interrupt_stops_the_peers(tmp_path: Path) -> None:
    well, stuck = Peer("Well"), Peer("Stuck", fails="stop")
    stage = Stage(Engine(tmp_path), PROGRAM, [stuck, well])

    def interrupted() -> None:
        with peers.running(stage):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert well.asked[-1] == stuck.asked[-1] == "stop"
    assert stage.failed == ["Stuck's engine is stopped"]


def test_an_unexpected_exit_code_breaks_the_story(stage: Stage) -> None:
    with pytest.raises(StoryFailed, match="`hako a 'b c'` ended with 1"):
        stage.hako("a", "b c")
    stage.hako("a", "b", fine=(1,))
    assert stage.code == 1


def test_claims_are_counted(stage: Stage) -> None:
    stage.claim("water is wet", True)
    stage.claim("iron floats", False, otherwise="it sank")
    assert stage.failed == ["iron floats"]


@pytest.mark.usefixtures("_no_chapters")
def test_all_so_is_zero(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    assert story.tell(engine, PROGRAM) == 0
    assert engine.asked == ["start", "stop"]


@pytest.mark.usefixtures("_no_chapters")
def test_leftovers_are_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert story.tell(Engine(tmp_path, leaves="mount /x"), PROGRAM) == 1
    assert "mount /x" in capsys.readouterr().out


def test_a_story_that_breaks_off_still_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_: Stage) -> None:
        raise StoryFailed("no wind")

    monkeypatch.setattr(story, "_CHAPTERS", (breaks,))
    engine = Engine(tmp_path)
    assert _tell(engine) == 1
    assert engine.asked == ["start", "stop"]


def test_an_interrupt_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Stage) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5)

    monkeypatch.setattr(story, "_CHAPTERS", (interrupted,))
    engine = Engine(tmp_path)
    assert _tell(engine) == 130
    assert engine.asked == ["start", "stop"]


def _tell(engine: Engine) -> int:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return story.tell(engine, PROGRAM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture
def _no_chapters(monkeypatch: pytest.MonkeyPatch) -> object:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(story, "_CHAPTERS", ())
    yield None
    for number, handler in before.items():
        signal.signal(number, handler)


def _soon(condition: Callable[[], bool]) -> bool:
    nothing = threading.Event()
    return any(condition() or nothing.wait(0.01) for _ in range(500))


def test_the_host_knows_processes(tmp_path: Path) -> None:
    line = ["sh", "-c", "echo here; exec sleep 60"]  # a new program's arguments are not there at once
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        assert _soon(lambda: host.command(process.pid) == "sleep 60")
        assert host.alive(process.pid)
        assert host.parent(process.pid) == os.getpid()
        assert host.ancestors(process.pid)[0] == os.getpid()
        process.kill()
        process.wait()
    assert not host.alive(process.pid)
    assert host.command(process.pid) == "gone"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        assert host.sockets(tmp_path) == {str(tmp_path / "s")}


def test_the_table_has_ratios() -> None:
    steps = ("create", "start", "exec", "stop", "remove", "all")
    ours, theirs = dict.fromkeys(steps, 0.01), dict.fromkeys(steps, 0.05)
    lines = list(times._table({"Hakobune": ours, "Docker 20.10": theirs}))
    assert lines[0].split() == ["Hakobune", "Docker", "20.10", "Docker/ours"]
    assert lines[1].split() == ["create", "10.0", "50.0", "5.0"]
