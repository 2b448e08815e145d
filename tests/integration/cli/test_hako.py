"""`hako` against a real engine: terminals, streams, exit codes, and the same tables as the docker CLI's."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hakobune.testing.engine import PrivateEngine

IMAGE = "hako/starter"
pytestmark = pytest.mark.root


class Terminal:
    """`hako …` on a pseudo terminal of 24 by 80."""

    def __init__(self, engine: PrivateEngine, *words: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(24, 80)
        self.before = termios.tcgetattr(self.slave)
        line = [sys.executable, "-I", "-m", "hakobune.cmd.hako", "-H", engine.host, *words]
        self.process = subprocess.Popen(
            line, stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True
        )
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def until(self, text: bytes) -> bytes:
        """What was printed up to `text`, which goes too."""
        end = time.monotonic() + 20
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536)
        before, _, self.seen = self.seen.partition(text)
        return before

    def end(self) -> int:
        code = self.process.wait(20)
        assert termios.tcgetattr(self.slave) == self.before
        return code


@contextmanager
def terminal(engine: PrivateEngine, *words: str) -> Iterator[Terminal]:
    one = Terminal(engine, *words)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()
        os.close(one.master)
        os.close(one.slave)


def test_a_shell_in_a_terminal(engine: PrivateEngine) -> None:
    with terminal(engine, "run", "-it", "--rm", IMAGE, "sh") as shell:
        shell.type(b"stty size; tty; echo done-$((1+1))\r")
        assert b"24 80" in shell.until(b"done-2")
        shell.resize(40, 132)
        shell.process.send_signal(signal.SIGWINCH)
        time.sleep(0.3)
        shell.type(b"stty size; echo done-$((1+2))\r")
        assert b"40 132" in shell.until(b"done-3")
        shell.type(b"sleep 100\r")
        shell.until(b"sleep 100\r\n")
        time.sleep(0.2)
        shell.type(b"\x03")
        shell.type(b"exit 42\r")
        assert shell.end() == 42


def test_leaving_and_coming_back(engine: PrivateEngine) -> None:
    with terminal(engine, "run", "-it", "--name", "inn", IMAGE, "sh") as shell:
        shell.type(b"guest=me; echo in-$((1+1))\r")
        shell.until(b"in-2")
        shell.type(b"\x10\x11")
        assert shell.end() == 0
    assert engine.hako("ps", "--format", "{{.Names}}").stdout == "inn\n"
    with terminal(engine, "attach", "inn") as shell:
        time.sleep(0.3)
        shell.type(b"echo back-$guest; exit 3\r")
        shell.until(b"back-me")
        assert shell.end() == 3
    engine.hako("rm", "inn")


def test_exec_in_a_terminal(engine: PrivateEngine) -> None:
    engine.hako("run", "-d", "--name", "host", IMAGE, "sleep", "60")
    with terminal(engine, "exec", "-it", "host", "sh") as shell:
        shell.type(b"stty size; echo ok-$((2+2)); exit 9\r")
        assert b"24 80" in shell.until(b"ok-4")
        assert shell.end() == 9
    engine.hako("rm", "-f", "host")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["sh", "-c", "exit 7"], 7),
        (["no-such-command"], 127),
        (["/etc"], 126),
        (["/etc/passwd"], 126),
    ],
)
def test_exit_codes(engine: PrivateEngine, words: list[str], code: int) -> None:
    done = engine.hako("run", "--rm", IMAGE, *words)
    assert done.returncode == code, done.stderr
    assert engine.hako("ps", "-aq").stdout == ""


def test_a_killed_command_is_128_and_the_signal(engine: PrivateEngine) -> None:
    engine.hako("run", "-d", "--name", "victim", IMAGE, "sleep", "60")
    assert engine.hako("kill", "-s", "KILL", "victim").stdout == "victim\n"
    assert engine.hako("wait", "victim").stdout == "137\n"
    engine.hako("rm", "victim")


def test_streams_and_input(engine: PrivateEngine) -> None:
    data = "0123456789" * 100_000
    done = engine.hako("run", "--rm", "-i", IMAGE, "cat", input=data)
    assert (done.returncode, done.stdout == data, done.stderr) == (0, True, "")
    done = engine.hako("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_signals_reach_the_command(engine: PrivateEngine) -> None:
    script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    line = [
        sys.executable,
        "-I",
        "-m",
        "hakobune.cmd.hako",
        "-H",
        engine.host,
        "run",
        "--rm",
        IMAGE,
        "sh",
        "-c",
        script,
    ]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.read() == "caught\n"
        assert process.wait(20) == 5


def test_tables_are_dockers(engine: PrivateEngine, peer: Callable[[str], Path], tmp_path: Path) -> None:
    program = peer("docker")
    engine.hako("run", "-d", "--name", "one", "-p", "80", "-l", "a=b", IMAGE, "sleep", "60")
    engine.hako("volume", "create", "vol")
    lines = [
        ["ps", "-a", "--no-trunc"], ["images"], ["volume", "ls"], ["network", "ls"], ["inspect", "one"], ["top", "one"],
        ["port", "one"], ["history", IMAGE], ["system", "df"], ["image", "inspect", IMAGE], ["inspect", "nobody"],
        ["network", "inspect", "bridge"], ["run", "--rm", IMAGE, "nope"],
        ["rm", "one"], ["rmi", IMAGE], ["stop", "nobody"], ["run", "--name", "one", IMAGE], ["volume", "rm", "nobody"],
    ]  # fmt: skip
    try:
        for words in lines:
            theirs = subprocess.run(
                [str(program), "--config", str(tmp_path), "-H", engine.host, *words],
                capture_output=True, text=True, timeout=20, check=False,
            )  # fmt: skip
            ours = engine.hako(*words)
            both = [_plain(one.stdout + one.stderr) for one in (ours, theirs)]
            if (
                words[0] == "ps"
            ):  # the age may have changed from the one to the other, and with it the columns' width
                both = [re.sub(" {2,}", "  ", text) for text in both]
            assert both[0] == both[1], words
            assert ours.returncode == theirs.returncode, words
    finally:
        engine.hako("rm", "-f", "one")
        engine.hako("volume", "rm", "vol")


def _plain(text: str) -> str:
    """Without what differs from one moment to the next, and our own name."""
    text = re.sub(r"(Less than a|\d+) seconds?", "N seconds", text)
    return "\n".join(
        line.rstrip()
        for line in text.replace("hako: ", "docker: ").replace("hako run", "docker run").splitlines()
    )
