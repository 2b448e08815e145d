"""Pages that a fork writes: learnt in one, copied ahead in another."""

from __future__ import annotations

import mmap
import os
import resource
from collections.abc import Callable

import pytest

from hakobune.linux.pages import PAGE, WrittenPages

PAGES = 400


def faults_of(work: Callable[[], None]) -> int:
    """Page faults of `work` in a fork."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        work()
        os.write(writing, b"%d" % (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))
        os._exit(0)
    os.waitpid(pid, 0)
    found = int(os.read(reading, 100))
    os.close(reading)
    os.close(writing)
    return found


def test_what_was_learnt_is_there_ahead() -> None:
    memory = mmap.mmap(-1, PAGES * 2 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)

    def write() -> None:
        for page in range(PAGES):
            memory[page * 2 * PAGE] = 1

    write()
    written = WrittenPages()
    alone = faults_of(write)
    assert alone >= PAGES
    assert not written.known

    def live() -> None:
        write()
        written.learn()

    faults_of(live)
    assert written.known

    def live_again() -> None:
        written.copy_ahead()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        write()
        os._exit(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before > PAGES // 4)

    pid = os.fork()
    if pid == 0:
        live_again()
    _pid, status = os.waitpid(pid, 0)
    if status and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 13):
        pytest.skip("this kernel copies no pages ahead")
    assert status == 0
