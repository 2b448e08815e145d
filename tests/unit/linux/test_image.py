"""A heap on a file: what a fork changes and changes back is shared again, what it changes stays its own.

In processes of their own: the memory of the one that runs the tests is left alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from hakobune.linux import image

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to read another process's memory")

_START = """
import gc, os, socket, struct, sys
from hakobune.errors import HakoError
from hakobune.linux import image

def private():
    flags = open("/proc/self/pagemap", "rb", 0)
    count = 0
    for area in heap.areas:
        flags.seek(area.start // image.PAGE * 8)
        count += sum(n for _, n in image._copied(flags.read((area.end - area.start) // image.PAGE * 8)))
    return count

def give_back(plan=None):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 2, 0))
    os.dup2(ours.fileno(), heap.gate)
    os.dup2(handle := os.pidfd_open(os.getpid()), heap.self)
    pid = os.getpid()
    if os.fork() == 0:
        theirs.recv(1)
        if plan is None:
            theirs.send(image.pack(image.judge(heap, pid)))
        os._exit(0)
    theirs.close()
    heap.give_back()
    os.wait()

gc.freeze(); gc.disable()
words = [f"word {n}" for n in range(50000)]
try:
    heap = image.take()
except HakoError as err:
    print("refused:", err)
    sys.exit(0)
"""


def run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", _START + textwrap.dedent(script)],
        capture_output=True, text=True, timeout=60, env={"MALLOC_MMAP_MAX_": "0"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if done.stdout.startswith("refused"):
        pytest.skip(done.stdout)
    return done.stdout


def test_pages_that_are_as_they_were_are_shared_again() -> None:
    out = run("""
    copy = list(words)      # counts a reference in each of them
    before = private()
    del copy
    for _ in range(3):
        give_back()
    print(before, private(), words[0], words[-1], sum(len(word) for word in words))
    """)
    before, after, *rest = out.split()
    assert int(before) > 500
    assert int(after) < int(before) / 2
    assert rest == ["word", "0", "word", "49999", "488890"]


def test_pages_that_differ_stay() -> None:
    out = run("""
    words[::7] = [word.upper() for word in words[::7]]
    for _ in range(3):
        give_back()
    print(words[7], words[8], sum(word.isupper() for word in words))
    """)
    assert out == "WORD 7 word 8 7143\n"


def test_a_judge_that_dies_silently_changes_nothing() -> None:
    assert run("give_back(plan=b''); print(len(set(words)))") == "50000\n"


def test_the_file_is_sealed() -> None:
    out = run("""
    try:
        os.pwrite(heap.fd, b"x", 0)
    except PermissionError:
        print("sealed")
    """)
    assert out == "sealed\n"


def test_a_plan_names_runs() -> None:
    found: list[tuple[int, int]] = []
    page = image.PAGE
    image._compare(
        b"a" * page * 2 + b"b" * page + b"c" * page, b"a" * page * 2 + b"x" * page + b"c" * page, 0, found
    )
    assert found == [(0, 2 * page), (3 * page, page)]
    flags = b"".join(
        entry.to_bytes(8, "little") for entry in (1 << 63, 1 << 63, 1 << 63 | 1 << 61, 0, 1 << 63)
    )
    assert image._copied(flags) == [(0, 2), (4, 1)]
