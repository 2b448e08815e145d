"""To wait for a word and execve(2) without an interpreter: all other memory of the process is given back before.

A process that waits for START is a fork with a heap of megabytes, of which it needs an argument vector and an
environment, and Python cannot let go of its heap and wait. So the last few system calls are machine code, kept in
pages that all forks share: munmap(2) of everything else, recvfrom(2), seccomp(2), execve(2), and, when one of the
last two fails, sendto(2) with the reason and the end. What stays is the stack and some pages. `make_ready` is called
before the forks; where it finds no way (another machine, no executable memory) `is_ready` stays False, and callers
wait in Python. Source: man 2 of each; man 2 rseq: the kernel writes to that area of a thread as long as it lives.
Imports: ctypes, mmap, os, struct; linux.sockets.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Mapping, Sequence

from hakobune.linux import sockets
from hakobune.record import dataclass

_PAGE = mmap.PAGESIZE
_WORD = b"S"  # compared in the code
_SLOT = 64  # bytes of an error's text, the first of which is its length
_ERRORS = 134  # <asm-generic/errno.h>: 0 ("unknown error") to EHWPOISON
_LEAST_GAP = (
    64 << 20
)  # bytes below the main stack that no mapping is in: half of what the kernel leaves (mmap_base)
_BLOCK = struct.Struct("=QQQ16xQQQQQQQQ")  # what the code reads, see there
_WORDS = struct.Struct("=Q")

# rdi: the block. Assembled from what stands beside it; numbers in brackets are places in the block.
_X86_64 = bytes.fromhex(
    "4889fb"  # mov %rdi,%rbx
    "4c8b23 4c8b6b08"  # r12, r13 = [0] ranges, [8] how many
    "4d85ed 7419"  # while r13:
    "498b3c24 498b742408 b80b000000 0f05"  # munmap(range); what it says does not matter
    "4983c410 49ffcd ebe2"  # r12 += 16, r13 -= 1
    "488b7b10 488d7318 ba10000000"  # recvfrom([16] channel, [24] room, 16, 0, 0, 0)
    "4531d2 4531c0 4531c9 b82d000000 0f05"
    "4883f8fc 74dd"  # again after -EINTR
    "4883f801 0f858e000000"  # one byte, or leave
    "807b1853 0f8584000000"  # which is 'S', or leave
    "488b5328 4885d2 7419"  # if [40] filter:
    "bf01000000 488b7330 4c8b6338"  # seccomp(SECCOMP_SET_MODE_FILTER, [48] flags, filter); r12 = [56] its complaint
    "b83d010000 0f05 4885c0 7817"  # or fail
    "488b7b40 488b7348 488b5350 4c8b6358"  # execve([64] path, [72] argv, [80] envp); r12 = [88] its complaint
    "b83b000000 0f05"
    "48f7d8 483d85000000 7602 31c0"  # fail: the error's number; one beyond the table is 0
    "48c1e006 488b7360 4801c6"  # rsi = [96] table + 64 * number
    "498b1424 4d8d442408 498d3c10"  # r8 = the complaint's text, rdi = its end
    "0fb60e 48ffc6 4801ca fc f3a4"  # the error's text behind it
    "4c89c6 488b7b10 41ba00400000"  # sendto(channel, text, length, MSG_NOSIGNAL, 0, 0)
    "4531c0 4531c9 b82c000000 0f05"
    "bf01000000 b8e7000000 0f05 0f0b"  # leave: exit_group(1)
)
_CODES = {"x86_64": _X86_64}
_KEPT_CODE = -(-len(_X86_64) // _SLOT) * _SLOT


@dataclass(frozen=True, slots=True)
class Last:
    """What is left to do. The complaints are packets without the error's text, which comes behind them."""

    channel: int  # descriptor of the socket that the word comes by
    path: str
    args: Sequence[str]
    env: Mapping[str, str]
    complaint: bytes
    filter: bytes | None = None  # to be loaded after the word
    filter_flags: int = 0
    filter_complaint: bytes = b""


@dataclass(frozen=True, slots=True)
class _Ready:
    """Found out before the forks."""

    memory: mmap.mmap  # the code, then the errors' texts
    address: int
    top: int  # above all mappings but the stack and the kernel's own
    rseq: tuple[int, int]  # offset from the thread's pointer, bytes


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.pthread_self.restype = ctypes.c_void_p
_Code = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_ready: _Ready | None = None


def is_ready() -> bool:
    """Whether `wait` can be called."""
    return _ready is not None


def make_ready() -> None:
    """For this process and its forks; nothing happens where it cannot be done."""
    global _ready
    code = _CODES.get(os.uname().machine)
    if code is None or _ready is not None or _PAGE != 4096:
        return
    try:
        top = _below_the_stack()
        memory = _anonymous(_KEPT_CODE + _ERRORS * _SLOT)
        address = _address(memory)
        memory.write(code.ljust(_KEPT_CODE, b"\0") + b"".join(_text(number) for number in range(_ERRORS)))
        if _libc.mprotect(address, len(memory), mmap.PROT_READ | mmap.PROT_EXEC):
            return
    except (OSError, ValueError):
        return
    _ready = _Ready(memory, address, top, _rseq())


def _text(number: int) -> bytes:
    text = os.strerror(number).lower().encode() if number else b"unknown error"
    text = text[: _SLOT - 1]
    return (bytes((len(text),)) + text).ljust(_SLOT, b"\0")


def _below_the_stack() -> int:
    with open("/proc/self/maps") as file:
        for line in file:
            if line.endswith("[stack]\n"):
                return int(line.partition("-")[0], 16) - _LEAST_GAP
    raise ValueError("no stack")


def _rseq() -> tuple[int, int]:
    """glibc registers one for each thread since 2.35; a C library that does not know these names has none."""
    try:
        return ctypes.c_ssize_t.in_dll(_libc, "__rseq_offset").value, 32
    except ValueError:
        return 0, 32


def _anonymous(size: int) -> mmap.mmap:
    return mmap.mmap(-1, -(-size // _PAGE) * _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


class _Block:
    """Texts and numbers laid out in memory of their own, by address."""

    def __init__(self, size: int) -> None:
        self.memory = _anonymous(size)
        self.address = _address(self.memory)
        self._end = _BLOCK.size

    def put(self, data: bytes, room: int = 0) -> int:
        """Where it is; `room` more bytes behind it are free."""
        place = self._end
        self.memory[place : place + len(data)] = data
        self._end = -(-(place + len(data) + room) // 8) * 8
        return self.address + place

    def strings(self, texts: Sequence[bytes]) -> int:
        """A vector as execve(2) takes it."""
        addresses = [self.put(text + b"\0") for text in texts]
        return self.put(struct.pack(f"={len(addresses) + 1}Q", *addresses, 0))

    def complaint(self, text: bytes) -> int:
        """Its length and itself, with room for what comes behind."""
        return self.put(_WORDS.pack(len(text)) + text, _SLOT)


def wait(last: Last) -> None:
    """Wait for the word, with nothing but what `last` needs. Never returns; raises OSError, ValueError where it cannot:
    all is as it was then. The end of the channel, or another word, is exit status 1.
    """
    ready = _ready
    if ready is None:
        raise OSError(38, "no code for this machine")
    path = os.fsencode(last.path)
    args = [os.fsencode(word) for word in last.args]
    env = [os.fsencode(f"{key}={value}") for key, value in last.env.items()]
    texts = (path, *args, *env)
    if any(b"\0" in text for text in texts):
        raise ValueError("embedded null byte")
    program = last.filter or b""
    size = sum(len(text) + 17 for text in texts) + len(program) + len(last.complaint + last.filter_complaint)
    block = _Block(_BLOCK.size + size + 1024)
    complaints = block.complaint(last.filter_complaint), block.complaint(last.complaint)
    loaded = block.put(struct.pack("=HxxxxxxQ", len(program) // 8, block.put(program))) if program else 0
    where = block.put(path + b"\0"), block.strings(args), block.strings(env)
    runs = list(_between(ready, block))
    ranges = block.put(b"".join(struct.pack("=QQ", start, end - start) for start, end in runs))
    _BLOCK.pack_into(
        block.memory, 0, ranges, len(runs), last.channel, loaded, last.filter_flags, complaints[0], *where,
        complaints[1], ready.address + _KEPT_CODE,
    )  # fmt: skip
    sockets.reset(callable)  # functions of Python, which will not be there
    _Code(ready.address)(block.address)


def _between(ready: _Ready, block: _Block) -> list[tuple[int, int]]:
    """All memory below the stack but the code, the block, and the pages that the kernel writes to."""
    area = ctypes.c_uint64(_libc.pthread_self()).value + ready.rseq[0]
    kept = sorted((
        (ready.address, ready.address + len(ready.memory)),
        (block.address, block.address + len(block.memory)),
        (area // _PAGE * _PAGE, -(-(area + ready.rseq[1]) // _PAGE) * _PAGE),
    ))  # fmt: skip
    starts = [_PAGE, *(end for _start, end in kept)]
    ends = [*(start for start, _end in kept), ready.top]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]
