"""A process that waits without an interpreter, and what becomes of it."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import pytest

from hakobune.linux import bare, sockets, syscalls
from hakobune.linux.sockets import Socket
from hakobune.oci import seccomp

bare.make_ready()
pytestmark = pytest.mark.skipif(not bare.is_ready(), reason=f"no code for {platform.machine()}")


def waiting(
    path: str, *args: str, env: dict[str, str] | None = None, program: bytes | None = None
) -> tuple[int, Socket]:
    """(pid, the far end) of one that waits, or is about to."""
    far, near = sockets.pair(sockets.SEQPACKET)
    pid = os.fork()
    if pid == 0:
        far.close()
        try:
            sockets.set_handler(sockets.SIGTERM, lambda _number, _frame: None)
            if program is not None:
                syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
            bare.wait(
                bare.Last(near.fileno(), path, args, env or {}, b"E2\nexec: ", program, 0, b"E0\nfilter: ")
            )
        finally:
            os._exit(99)
    near.close()
    return pid, far


def ended(pid: int, far: Socket) -> int:
    """Its exit status, or minus the signal."""
    status = os.waitpid(pid, 0)[1]
    far.close()
    return os.waitstatus_to_exitcode(status)


def held(pid: int) -> int:
    """KiB of it that nobody else has."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Dirty", "Private_Clean")))


def test_the_word_and_then_the_program(tmp_path: Path) -> None:
    out = tmp_path / "out"
    pid, far = waiting(
        "/bin/sh", "sh", "-c", f'echo "$X" "$0" "$1" >{out}; exit 7', "é", "b c", env={"X": "ü"}
    )
    far.send(b"S")
    assert far.recv(10) == b""
    assert ended(pid, far) == 7
    assert out.read_text() == "ü é b c\n"


def test_it_holds_next_to_nothing_while_it_waits() -> None:
    pid, far = waiting("/bin/true", "true")
    end = time.monotonic() + 5
    while held(pid) > 256 and time.monotonic() < end:
        time.sleep(0.01)
    assert held(pid) <= 256
    far.send(b"S")
    assert ended(pid, far) == 0


def test_a_large_environment() -> None:
    env = {f"NAME_{number}": "x" * 1000 for number in range(500)}
    pid, far = waiting("/bin/sh", "sh", "-c", "test ${#NAME_499} = 1000 && test ${#NAME_0} = 1000", env=env)
    far.send(b"S")
    assert ended(pid, far) == 0


@pytest.mark.parametrize("word", [b"", b"X", b"SS"])
def test_another_word_or_none_is_the_end(word: bytes) -> None:
    pid, far = waiting("/bin/true", "true")
    if word:
        far.send(word)
    else:
        far.close()
    assert ended(pid, far) == 1


@pytest.mark.parametrize(("path", "text"), [("/nowhere", "no such file or directory"), ("/etc", "permission denied"),
                                            ("/etc/" + "x" * 300, "file name too long")])  # fmt: skip
def test_what_the_kernel_says_to_exec_is_told(path: str, text: str) -> None:
    pid, far = waiting(path, "x")
    far.send(b"S")
    assert far.recv(1000).decode() == f"E2\nexec: {text}"
    assert ended(pid, far) == 1


def test_the_filter_comes_after_the_word(tmp_path: Path) -> None:
    """One that lets all pass but mkdir(2) and mkdirat(2); and one that is none."""
    profile = {"defaultAction": "SCMP_ACT_ALLOW",
               "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}  # fmt: skip
    line = ("sh", "-c", f"mkdir {tmp_path}/made 2>/dev/null || exit 8")
    pid, far = waiting("/bin/sh", *line, program=seccomp.compile(profile))
    far.send(b"S")
    assert ended(pid, far) == 8
    assert not (tmp_path / "made").exists()
    pid, far = waiting("/bin/sh", *line, program=bytes(8))
    far.send(b"S")
    assert far.recv(1000) == b"E0\nfilter: invalid argument"
    assert ended(pid, far) == 1


def test_signals_do_what_they_do_by_default() -> None:
    """Stopped and continued it waits on; Python's handlers are gone with Python."""
    pid, far = waiting("/bin/true", "true")
    while held(pid) > 256:
        time.sleep(0.01)
    os.kill(pid, 19)
    os.waitpid(pid, os.WUNTRACED)
    os.kill(pid, 18)
    time.sleep(0.02)
    far.send(b"S")
    assert ended(pid, far) == 0
    pid, far = waiting("/bin/true", "true")
    while held(pid) > 256:
        time.sleep(0.01)
    os.kill(pid, sockets.SIGTERM)
    assert ended(pid, far) == -sockets.SIGTERM


def test_what_cannot_be_laid_out_leaves_everything_as_it_was() -> None:
    pid, far = waiting("/bin/true", "true", "nul\0inside")
    assert ended(pid, far) == 99
