"""`-it` in a real terminal: the docker CLI on a pty, sizes, keys, raw mode."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.conftest import STARTER, Docker

from hakobune.testing.engine import PrivateEngine

pytestmark = [pytest.mark.root, pytest.mark.slow]


class Terminal:
    """A program on a pty of ours."""

    def __init__(
        self, command: list[str], environment: dict[str, str], rows: int = 30, columns: int = 90
    ) -> None:
        self.master, slave = pty.openpty()
        self.size(rows, columns)
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True, close_fds=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, words: str, seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while words not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            assert ready, f"{words!r} not seen in {self.seen!r}"
            try:
                self.seen += os.read(self.master, 4096).decode(errors="replace")
            except OSError as err:
                raise AssertionError(f"{words!r} not seen in {self.seen!r}") from err

    def end(self) -> int:
        code = self.process.wait(15)
        os.close(self.master)
        return code


@pytest.fixture
def terminal(
    engine: PrivateEngine, peer: Callable[[str], Path], docker: Docker
) -> Iterator[Callable[..., Terminal]]:
    program = str(peer("docker"))
    environment = {**os.environ, "DOCKER_HOST": engine.host, "TERM": "xterm"}
    opened: list[Terminal] = []

    def open_terminal(*words: str) -> Terminal:
        opened.append(Terminal([program, *words], environment))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.process.kill()
        one.process.wait()


def test_a_shell_with_its_size_and_exit_code(terminal: Callable[..., Terminal]) -> None:
    shell = terminal("run", "-it", "--rm", "--network", "none", STARTER, "/bin/sh")
    shell.type("echo si''ze $(stty size)\n")
    shell.expect("size 30 90")
    shell.size(40, 100)
    shell.type("until [ \"$(stty size)\" = '40 100' ]; do sleep 0.1; done; echo chan''ged\n")
    for _ in range(20):  # the CLI listens to the signal only some time after its start
        os.killpg(shell.process.pid, signal.SIGWINCH)
        time.sleep(0.1)
    shell.expect("changed")
    shell.type("exit 5\n")
    assert shell.end() == 5


def test_control_c_reaches_the_process(terminal: Callable[..., Terminal]) -> None:
    shell = terminal(
        "run",
        "-it",
        "--rm",
        "--network",
        "none",
        STARTER,
        "/bin/sh",
        "-c",
        "trap 'echo caught; exit 4' INT; echo rea''dy; while :; do sleep 0.1; done",
    )
    shell.expect("ready")
    shell.type("\x03")
    shell.expect("caught")
    assert shell.end() == 4


def test_detach_and_attach_again(terminal: Callable[..., Terminal], docker: Docker) -> None:
    shell = terminal("run", "-it", "--name", "moored", "--network", "none", STARTER, "/bin/sh")
    shell.type("echo he''re\n")
    shell.expect("here")
    shell.type("\x10\x11")
    assert shell.end() == 0
    assert docker("inspect", "-f", "{{.State.Running}}", "moored").stdout.strip() == "true"
    again = terminal("attach", "moored")
    again.type("echo ag''ain\n")
    again.expect("again")
    again.type("exit 3\n")
    assert again.end() == 3
    assert docker("rm", "moored").returncode == 0


def test_exec_with_a_terminal(terminal: Callable[..., Terminal], docker: Docker) -> None:
    assert (
        docker("run", "-d", "--name", "host", "--network", "none", STARTER, "/bin/sleep", "600").returncode
        == 0
    )
    shell = terminal("exec", "-it", "host", "/bin/sh")
    shell.type("echo si''ze $(stty size); tty\n")
    shell.expect("size 30 90")
    shell.expect("/dev/pts/")
    shell.type("exit 8\n")
    assert shell.end() == 8
    assert docker("rm", "-f", "host").returncode == 0
