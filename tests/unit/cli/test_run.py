"""run: the order of requests, streams, exit codes, signals, the terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_engine import UPGRADED, FakeContainer, FakeEngine, Hako, Reply, Seen

from hakobune.wire.stdcopy import frame


def _hello(sock: socket.socket, early: bytes) -> int:
    sock.sendall(frame("stdout", b"out\n") + frame("stderr", b"err\n"))
    return 7


def _upper(sock: socket.socket, early: bytes) -> int:
    data = early
    while block := sock.recv(65536):
        data += block
    sock.sendall(frame("stdout", data.upper()))
    return 0


def test_attach_and_wait_come_before_start(fake: FakeEngine, command: Hako) -> None:
    container = FakeContainer(fake, _hello)
    done = command("run", "--rm", "img", "true")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert container.order == ["create", "attach", "wait", "start"]
    assert fake.requests("POST", ".*/wait")[0].query == {"condition": "removed"}
    attach = fake.requests("POST", ".*/attach")[0].query
    assert attach == {"stream": "1", "stdout": "1", "stderr": "1"}


def test_input_is_half_closed_and_output_goes_on(fake: FakeEngine, command: Hako) -> None:
    FakeContainer(fake, _upper)
    text = "abc" * 200_000
    done = command("run", "-i", "img", "cat", data=text)
    assert done.returncode == 0
    assert done.stdout == text.upper()
    assert fake.requests("POST", ".*/wait")[0].query == {"condition": "next-exit"}


def test_detached_prints_the_id_and_waits_for_nothing(fake: FakeEngine, command: Hako) -> None:
    container = FakeContainer(fake, _hello)
    done = command("run", "-d", "--name", "n", "img")
    assert (done.returncode, done.stdout) == (0, "c1\n")
    assert container.order == ["create", "start"]
    assert fake.requests("POST", "/containers/create")[0].query == {"name": "n"}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('exec: "nope": executable file not found in $PATH', 127),
        ("exec: /x: permission denied", 126),
        ("exec: /x: is a directory", 126),
        ("something else", 125),
    ],
)
def test_exit_code_of_a_start_that_fails(fake: FakeEngine, command: Hako, message: str, code: int) -> None:
    container = FakeContainer(fake, _hello)
    container.start_reply = Reply(400, {"message": message})
    done = command("run", "--rm", "img", "nope")
    assert done.returncode == code
    assert done.stderr.startswith(f"hako: Error response from daemon: {message}\n")
    assert "Run 'hako run --help'" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--nope", "img"], 125, "unknown flag: --nope"),
        (["-m", "abc", "img"], 125, 'invalid argument "abc" for "-m, --memory" flag: invalid size: \'abc\''),
        ([], 1, "hako: 'hako run' requires at least 1 argument"),
        (
            ["-d", "-a", "stdout", "img"],
            125,
            "conflicting options: cannot specify both --attach and --detach",
        ),
        (
            ["--rm", "--restart", "always", "img"],
            125,
            "hako: conflicting options: cannot specify both --restart",
        ),
        (["-p", "99999999:80", "img"], 125, "hako: invalid hostPort: 99999999"),
        (["-v", ":/x", "img"], 125, "hako: invalid spec: :/x: empty section between colons"),
        (["-it", "img"], 1, "the input device is not a TTY"),
    ],
)
def test_bad_command_lines(command: Hako, words: list[str], code: int, message: str) -> None:
    done = command("run", *words)
    assert done.returncode == code
    assert done.stderr.startswith(message)


def test_a_missing_image_is_pulled_once(fake: FakeEngine, command: Hako) -> None:
    FakeContainer(fake, _hello)
    fake.answer("POST /containers/create", {"message": "No such image: img:latest"}, 404)
    fake.answer("POST /images/create", {"message": "pull access denied for img"}, 404)
    done = command("run", "img")
    assert done.returncode == 125
    assert done.stderr.splitlines()[:2] == [
        "Unable to find image 'img:latest' locally",
        "hako: Error response from daemon: pull access denied for img",
    ]
    assert fake.requests("POST", "/images/create")[0].query == {"fromImage": "img", "tag": "latest"}
    assert command("run", "--pull", "never", "img").returncode == 125
    assert len(fake.requests("POST", "/images/create")) == 1


def _start(fake: FakeEngine, *words: str, **options: object) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-I", "-m", "hakobune.cmd.hako", "-H", fake.host, *words]
    return subprocess.Popen(line, **options)  # type: ignore[call-overload,no-any-return]


def _until(fake: FakeEngine, path: str, count: int = 1) -> list[Seen]:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        found = fake.requests("POST", path)
        if len(found) >= count:
            return found
        time.sleep(0.01)
    raise AssertionError(f"no request for {path}: {[seen.path for seen in fake.seen]}")


def test_signals_go_to_the_container(fake: FakeEngine) -> None:
    def talk(sock: socket.socket, early: bytes) -> int:
        _until(fake, ".*/kill", 2)
        return 143

    container = FakeContainer(fake, talk)
    process = _start(fake, "run", "img", "sleep")
    assert container.started.wait(10)
    process.send_signal(signal.SIGINT)
    _until(fake, ".*/kill")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143
    assert [seen.query["signal"] for seen in fake.requests("POST", ".*/kill")] == ["SIGINT", "SIGTERM"]


class Terminal:
    """A process on a pty: what it prints, and what we type."""

    def __init__(self, fake: FakeEngine, *words: str) -> None:
        self.master, slave = pty.openpty()
        os.set_inheritable(slave, True)
        import fcntl
        import struct
        import termios

        self.slave = slave
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.process = _start(
            fake, *words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )  # fmt: skip

    def read_until(self, text: bytes) -> bytes:
        data, end = b"", time.monotonic() + 10
        while text not in data and time.monotonic() < end:
            if select.select([self.master], [], [], 0.1)[0]:
                data += os.read(self.master, 65536)
        assert text in data
        return data

    def resize(self, rows: int, columns: int) -> None:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def restored(self) -> bool:
        import termios

        return termios.tcgetattr(self.slave) == self.before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def _echo(sock: socket.socket, early: bytes) -> int:
    sock.sendall(b"ready\r\n")
    while data := sock.recv(65536):
        sock.sendall(b"<" + data + b">")
        if b"\x04" in data:
            return 5
    return 0


def test_a_terminal_is_raw_resized_and_restored(fake: FakeEngine) -> None:
    FakeContainer(fake, _echo)
    terminal = Terminal(fake, "run", "-it", "img", "sh")
    try:
        terminal.read_until(b"ready\r\n")
        assert not terminal.restored()
        os.write(terminal.master, b"\x03a\r")
        terminal.read_until(b"\x03a\r>")
        terminal.resize(40, 132)
        sizes = [seen.query for seen in _until(fake, ".*/resize", 2)]
        assert sizes == [{"h": "24", "w": "80"}, {"h": "40", "w": "132"}]
        assert fake.requests("POST", "/containers/create")[0].json["HostConfig"]["ConsoleSize"] == [24, 80]
        os.write(terminal.master, b"\x04")
        assert terminal.process.wait(10) == 5
        assert terminal.restored()
    finally:
        terminal.close()


@pytest.mark.parametrize("typed", [[b"\x10\x11"], [b"\x10", b"\x11"]])
def test_detach_keys_leave_the_container(fake: FakeEngine, typed: list[bytes]) -> None:
    FakeContainer(fake, _echo)
    terminal = Terminal(fake, "run", "-it", "img", "sh")
    try:
        terminal.read_until(b"ready\r\n")
        os.write(terminal.master, b"x\x10y")
        terminal.read_until(b"y>")
        for part in typed:
            os.write(terminal.master, part)
            time.sleep(0.05)
        assert terminal.process.wait(10) == 0
        assert terminal.restored()
    finally:
        terminal.close()


def test_a_terminal_is_restored_when_we_are_killed(fake: FakeEngine) -> None:
    FakeContainer(fake, _echo)
    terminal = Terminal(fake, "run", "-it", "img", "sh")
    try:
        terminal.read_until(b"ready\r\n")
        terminal.process.terminate()
        assert terminal.process.wait(10) == 143
        assert terminal.restored()
    finally:
        terminal.close()


def test_exec(fake: FakeEngine, command: Hako) -> None:
    def start(seen: Seen) -> Reply:
        seen.sock.sendall(UPGRADED)
        _upper(seen.sock, seen.early)
        return Reply(taken=True)

    fake.answer("POST /containers/box/exec", {"Id": "e1"}, 201)
    fake.routes["POST /exec/e1/start"] = start
    fake.answer("GET /exec/e1/json", {"ExitCode": 3})
    done = command("exec", "-i", "-eA=b", "-w/x", "box", "sh", "-c", "exit 3", data="hi")
    assert (done.returncode, done.stdout, done.stderr) == (3, "HI", "")
    body = fake.requests("POST", "/containers/box/exec")[0].json
    assert body["Cmd"] == ["sh", "-c", "exit 3"]
    assert (body["Env"], body["WorkingDir"], body["AttachStdin"]) == (["A=b"], "/x", True)


def test_exec_of_what_is_not_there(fake: FakeEngine, command: Hako) -> None:
    fake.answer("POST /containers/box/exec", {"Id": "e1"}, 201)
    text = 'OCI runtime exec failed: exec: "nope": executable file not found in $PATH'
    fake.answer("POST /exec/e1/start", {"message": text}, 400)
    done = command("exec", "box", "nope")
    assert (done.returncode, done.stderr) == (127, f"Error response from daemon: {text}\n")


def test_cidfile(fake: FakeEngine, command: Hako, tmp_path: Path) -> None:
    FakeContainer(fake, _hello)
    path = tmp_path / "id"
    assert command("create", "--cidfile", str(path), "img").stdout == "c1\n"
    assert path.read_text() == "c1"
    assert command("run", "--cidfile", str(path), "img").returncode == 125


def _known(fake: FakeEngine, *, tty: bool, running: bool = True) -> None:
    document = {
        "Id": "c1",
        "Config": {"Tty": tty, "OpenStdin": True},
        "State": {"Running": running},
        "HostConfig": {"AutoRemove": False},
    }
    fake.answer("GET /containers/(c1|box)/json", document)
    fake.answer("GET /containers/gone/json", {"message": "No such container: gone"}, 404)


def test_start_in_front(fake: FakeEngine, command: Hako) -> None:
    container = FakeContainer(fake, _upper)
    _known(fake, tty=False, running=False)
    done = command("start", "-ai", "box", data="abc")
    assert (done.returncode, done.stdout) == (0, "ABC")
    assert sorted(container.order[:2]) == ["attach", "wait"]
    assert container.order[2:] == ["start"]


def test_attach(fake: FakeEngine, command: Hako) -> None:
    container = FakeContainer(fake, _hello)
    container.started.set()
    _known(fake, tty=False)
    fake.routes["POST /containers/box/wait"] = fake.routes["POST /containers/c1/wait"]
    done = command("attach", "--no-stdin", "box")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_attach_to_what_does_not_run(fake: FakeEngine, command: Hako) -> None:
    _known(fake, tty=False, running=False)
    done = command("attach", "box")
    assert (done.returncode, done.stderr) == (1, "cannot attach to a stopped container, start it first\n")
    assert command("attach", "gone").stderr == "Error response from daemon: No such container: gone\n"


def test_leaving_an_attached_container(fake: FakeEngine) -> None:
    container = FakeContainer(fake, _echo)
    container.started.set()
    _known(fake, tty=True)
    fake.routes["POST /containers/box/wait"] = fake.routes["POST /containers/c1/wait"]
    terminal = Terminal(fake, "attach", "--detach-keys", "ctrl-x", "box")
    try:
        terminal.read_until(b"ready\r\n")
        os.write(terminal.master, b"\x10\x11\x18")
        terminal.read_until(b"read escape sequence")
        assert terminal.process.wait(10) == 1
        assert fake.requests("POST", ".*/attach")[0].query["detachKeys"] == "ctrl-x"
    finally:
        terminal.close()


@pytest.mark.parametrize("tty", [False, True])
def test_logs_go_to_their_streams(fake: FakeEngine, command: Hako, tty: bool) -> None:
    _known(fake, tty=tty)
    fake.answer(
        "GET /containers/c1/logs", b"raw\r\n" if tty else frame("stderr", b"e\n") + frame("stdout", b"o\n")
    )
    done = command("logs", "box")
    assert (done.stdout, done.stderr) == (("raw\n", "") if tty else ("o\n", "e\n"))


def test_no_engine_is_one_sentence(fake: FakeEngine) -> None:
    line = [sys.executable, "-I", "-m", "hakobune.cmd.hako", "-H", "unix:///nowhere/x.sock", "ps"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("cannot reach the engine at unix:///nowhere/x.sock")
    assert len(done.stderr.splitlines()) == 1


def test_a_closed_pipe_is_no_traceback(fake: FakeEngine) -> None:
    fake.answer("GET /images/json", [{"Id": f"sha256:{n:064}", "Created": 1, "Size": n} for n in range(5000)])
    line = f"{sys.executable} -I -m hakobune.cmd.hako -H {fake.host} images | head -n 1"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=10, check=False)
    assert done.stdout.startswith("REPOSITORY")
    assert done.stderr == ""


def test_start_up_stays_cheap(command: Hako) -> None:
    """Modules that a list must not load: each costs milliseconds on every command."""
    script = (
        "import sys; from hakobune.cli import app; app.main(['ps', '--help']); print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    heavy = {"argparse", "asyncio", "dataclasses", "inspect", "logging", "shutil", "signal", "subprocess", "termios",
             "threading", "urllib", "http", "datetime", "pathlib"}  # fmt: skip
    assert not heavy & loaded, heavy & loaded


def test_a_plain_table_loads_no_template(fake: FakeEngine) -> None:
    fake.answer("GET /images/json", [{"Id": f"sha256:{1:064}", "Created": 1, "Size": 1}])
    script = f"import sys; from hakobune.cli import app; app.main(['-H', '{fake.host}', 'images']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    heavy = {"hakobune.cli.template", "hakobune.cli.credentials", "hakobune.cli.pull", "base64", "contextlib"}
    assert not heavy & loaded, heavy & loaded
