"""URIs of logging programs, and the program's descriptors, whatever numbers ours have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hakobune.task import logger


@pytest.mark.parametrize(
    ("uri", "argv"),
    [
        ("binary:///bin/x", ["/bin/x"]),
        ("binary:///bin/x?a=b&c", ["/bin/x", "a", "b", "c", ""]),
        ("binary:///a%20b?K=%2Fvar%2Flib&p+q=1%2B1", ["/a b", "K", "/var/lib", "p q", "1+1"]),
        ("binary:///x?a=100%&b=%zz", ["/x", "a", "100%", "b", "%zz"]),
    ],
)
def test_command(uri: str, argv: list[str]) -> None:
    assert logger.command(uri) == argv


def test_the_program_gets_both_streams(tmp_path: Path) -> None:
    program = tmp_path / "logger"
    program.write_text(
        '#!/bin/sh\n/bin/cat <&3 >"$2"\n/bin/cat <&4 >>"$2"\necho "$CONTAINER_ID $CONTAINER_NAMESPACE" >>"$2"\n'
    )
    program.chmod(0o755)
    done = tmp_path / "done"
    os.mkfifo(done)
    held = os.open(done, os.O_RDWR)  # between two writers it is nobody's end
    ours = logger.start(f"binary://{program}?to={done}", "box", "room")
    os.write(ours["stderr"], b"err\n")
    os.write(ours["stdout"], b"out\n")
    for fd in ours.values():
        os.close(fd)
    got = b""
    while got.count(b"\n") < 3:
        got += os.read(held, 4096)
    os.close(held)
    assert got == b"out\nerr\nbox room\n"
    os.waitpid(-1, 0)


def test_no_such_program(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        logger.start(f"binary://{tmp_path}/none", "box", "room")
    assert len(os.listdir("/proc/self/fd")) == before
