"""The heap of a fork server as a sealed file, so that its forks can give copied pages back.

A forked interpreter copies a page as soon as it counts a reference in it, though it counts back a moment later
and the page ends as it began. `Image.take` puts the writable memory of this process on a memfd, mapped
privately at the same addresses. In a fork, a page that equals the file's again is dropped (MADV_DONTNEED):
it is then read from the file, which all forks share.

Between looking at a page and replacing it no interpreter may run, as it would change it. So the calls are made
in a chain of contexts (man 3 makecontext): each C function returns into the next one. Whether a page has come
back is found out by another process, a `judge`, while this one waits inside the chain.
Needs glibc on x86-64 or aarch64, and process_madvise(2) on oneself (Linux 6.13). Imports: ctypes, mmap, os.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hakobune.errors import Unimplemented

PAGE = mmap.PAGESIZE
MOST_RANGES = 1024  # UIO_MAXIOV
PLAN_SIZE = MOST_RANGES * 16

_MADV_DONTNEED = 4
_PRIVATE_FIXED = 0x02 | 0x10
_READ_WRITE = 3
_CONTEXT_SIZE = {"x86_64": 1024, "aarch64": 4608}.get(os.uname().machine, 0)
_STACK = 7168  # for a C function that only makes a system call; signals are blocked meanwhile
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS

_libc = ctypes.PyDLL(None, use_errno=True)
_Call = tuple[Any, tuple[int, ...]]


class Chain:
    """C calls that are made one after the other with nothing in between."""

    def __init__(self, calls: Sequence[_Call]) -> None:
        slot = _CONTEXT_SIZE + _STACK
        self.memory = mmap.mmap(-1, (len(calls) + 1) * slot, _ANONYMOUS)
        self._base = base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        for number, (function, arguments) in enumerate(calls, 1):
            here = base + number * slot
            after = base if number == len(calls) else here + slot
            if _libc.getcontext(ctypes.c_void_p(here)):
                raise OSError(ctypes.get_errno(), "getcontext")
            # ucontext_t begins: flags, link, stack (where, flags, size)
            stack = struct.pack("@PPiP", after, here + _CONTEXT_SIZE, 0, _STACK)
            ctypes.memmove(here + 8, stack, len(stack))
            _libc.makecontext(
                ctypes.c_void_p(here),
                function,
                len(arguments),
                *(ctypes.c_long(value) for value in arguments),
            )
        # Made once: what is passed here would otherwise be made anew in every fork.
        self._switch = _libc.swapcontext
        self._arguments = (ctypes.c_void_p(base), ctypes.c_void_p(base + slot))

    def run(self) -> None:
        """Make the calls, once; nobody looks at their results."""
        self._switch(*self._arguments)

    def run_again(self) -> None:
        """When the chain stands in an image: its stacks, which a run uses up, come from there."""
        self.memory.madvise(mmap.MADV_DONTNEED)
        self._switch(*self._arguments)


@dataclass(frozen=True, slots=True)
class Area:
    """Memory [start, end) that stands in the file from `offset` on."""

    start: int
    end: int
    offset: int


class Image:
    """Three descriptors that a fork has to keep, the areas, and the chain of the forks."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.areas: tuple[Area, ...] = ()
        self.gate = os.dup(fd)  # a place for the channel to the judge
        self.self = os.dup(fd)  # a place for our own pidfd
        self._plan = mmap.mmap(-1, PLAN_SIZE, _ANONYMOUS)
        plan = ctypes.addressof(ctypes.c_char.from_buffer(self._plan))
        clear = (_libc.madvise, (plan, PLAN_SIZE, _MADV_DONTNEED))
        self._chain = Chain(
            (
                clear,
                (_libc.send, (self.gate, plan, 1, 0)),
                (_libc.recv, (self.gate, plan, PLAN_SIZE, 0)),
                (_libc.process_madvise, (self.self, plan, MOST_RANGES, _MADV_DONTNEED, 0)),
                clear,
            )
        )

    def descriptors(self) -> tuple[int, int, int]:
        """Those which forks keep."""
        return self.fd, self.gate, self.self

    def give_back(self) -> None:
        """Wait for the judge at `gate` to name pages, and drop them.

        Nothing is dropped when the judge has died, or when the gate's receive timeout has passed.
        """
        self._chain.run_again()


def take() -> Image:
    """Put the memory of this process, which has one thread, on a file. Raises OSError, Unimplemented."""
    if not _CONTEXT_SIZE or not hasattr(_libc, "makecontext") or not hasattr(_libc, "process_madvise"):
        raise Unimplemented("no contexts on this machine or C library")
    _need_process_madvise()
    fd = os.memfd_create("hakobune-heap", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    image = Image(fd)
    image.areas = _lay_out()
    calls: list[_Call] = []
    for area in image.areas:
        size = area.end - area.start
        calls.append((_libc.pwrite, (fd, area.start, size, area.offset)))
        calls.append((_libc.mmap, (area.start, size, _READ_WRITE, _PRIVATE_FIXED, fd, area.offset)))
    chain = Chain(calls)
    for area in image.areas:  # the file has its pages after this: in the chain no write can fail
        view = (ctypes.c_char * (area.end - area.start)).from_address(area.start)
        if os.pwrite(fd, view, area.offset) != area.end - area.start:
            raise OSError(28, "the heap's file cannot be written whole")
    chain.run()
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return image


def _need_process_madvise() -> None:
    scratch = mmap.mmap(-1, PAGE, _ANONYMOUS)
    scratch[0] = 1
    where = ctypes.addressof(ctypes.c_char.from_buffer(scratch))
    pidfd = os.pidfd_open(os.getpid())
    vector = struct.pack("@PN", where, PAGE)
    done = _libc.process_madvise(pidfd, vector, ctypes.c_size_t(1), _MADV_DONTNEED, 0)
    os.close(pidfd)
    if done != PAGE or scratch[0] != 0:
        raise Unimplemented("process_madvise(2) on oneself needs Linux 6.13")


def _lay_out() -> tuple[Area, ...]:
    """The private writable memory of interpreter and allocators, not the C library's own nor the stack."""
    _libc.__errno_location.restype = ctypes.c_void_p
    own = _libc.__errno_location()  # beside the main thread's control block
    areas: list[Area] = []
    offset = 0
    with open("/proc/self/maps") as file:
        lines = file.read().splitlines()
    for line in lines:
        words = line.split(None, 5)
        start, end = (int(word, 16) for word in words[0].split("-"))
        name = words[5] if len(words) > 5 else ""
        if words[1] == "rw-p" and not start <= own < end and (name in ("", "[heap]") or "python" in name):
            areas.append(Area(start, end, offset))
            offset += end - start
    return tuple(areas)


def judge(image: Image, pid: int) -> list[tuple[int, int]]:
    """(address, size) of the pages of the process `pid`, which stands still, that equal the image's again.

    Raises OSError when we may not look.
    """
    found: list[tuple[int, int]] = []
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    pages = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    for area in image.areas:
        count = (area.end - area.start) // PAGE
        flags = os.pread(pages, count * 8, area.start // PAGE * 8)
        for first, length in _copied(flags):
            at = area.start + first * PAGE
            theirs = os.pread(memory, length * PAGE, at)
            ours = os.pread(image.fd, length * PAGE, area.offset + first * PAGE)
            _compare(theirs, ours, at, found)
    os.close(memory)
    os.close(pages)
    return found[:MOST_RANGES]


def _copied(flags: bytes) -> list[tuple[int, int]]:
    """(first, length) of the runs of pages which are present (bit 63) and not the file's (bit 61)."""
    runs: list[tuple[int, int]] = []
    for number, (entry,) in enumerate(struct.iter_unpack("=Q", flags)):
        if entry >> 61 & 5 != 4:
            continue
        if runs and sum(runs[-1]) == number:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((number, 1))
    return runs


def _compare(theirs: bytes, ours: bytes, at: int, found: list[tuple[int, int]]) -> None:
    for offset in range(0, min(len(theirs), len(ours)), PAGE):
        if theirs[offset : offset + PAGE] == ours[offset : offset + PAGE]:
            if found and sum(found[-1]) == at + offset:
                found[-1] = (found[-1][0], found[-1][1] + PAGE)
            else:
                found.append((at + offset, PAGE))


def pack(ranges: Sequence[tuple[int, int]]) -> bytes:
    """The plan: an array of struct iovec."""
    return b"".join(struct.pack("@PN", start, size) for start, size in ranges)
