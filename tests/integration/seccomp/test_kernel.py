"""The compiled default profile on the real kernel, through 64-bit calls and through int 0x80."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
from collections.abc import Callable

import pytest

from hakobune.linux.syscalls import seccomp_load
from hakobune.oci import capabilities, seccomp, seccomp_default

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86_64"),
]

_libc = ctypes.CDLL(None, use_errno=True)
# push rbx; mov eax,edi; mov ebx,esi; mov ecx,edx; int 0x80; pop rbx; cdqe; ret
_INT80 = bytes.fromhex("5389f889f389d1cd805b4898c3")


def call(number: int, *args: int) -> str:
    words = [ctypes.c_ulong(value & (1 << 64) - 1) for value in args]
    result = _libc.syscall(ctypes.c_long(number), *words)
    return errno.errorcode[ctypes.get_errno()] if result < 0 else "ok"


def old_call(number: int, *args: int) -> str:
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_INT80)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    function = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_uint] * 3)(address)
    result = function(number, *(*args, 0, 0)[:2])
    return errno.errorcode[-result] if result < 0 else "ok"


def answer(ask: Callable[[], str], caps: tuple[str, ...]) -> str:
    """What `ask` says in a child under the default profile."""
    program = seccomp.compile(seccomp_default.profile(caps))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            seccomp_load(program)
            os.write(writer, ask().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


@pytest.mark.parametrize(
    ("number", "args", "expected"),
    [
        (39, (), "ok"),  # getpid
        (272, (0x20000,), "EPERM"),  # unshare(CLONE_NEWNS)
        (56, (0x10000011, 0, 0, 0, 0), "EPERM"),  # clone(CLONE_NEWUSER)
        (435, (0, 0), "ENOSYS"),  # clone3
        (250, (0, 0), "EPERM"),  # keyctl
        (165, (0, 0, 0, 0, 0), "EPERM"),  # mount
        (323, (0,), "EPERM"),  # userfaultfd
        (425, (1, 0), "EPERM"),  # io_uring_setup
        (135, (0xFFFFFFFF,), "ok"),  # personality(query)
        (135, (0x0040000,), "EPERM"),  # personality(ADDR_NO_RANDOMIZE)
        (41, (38, 5, 0), "EPERM"),  # socket(AF_ALG)
        (41, (40, 1, 0), "EPERM"),  # socket(AF_VSOCK)
        (41, (2, 1, 0), "ok"),  # socket(AF_INET)
        (600, (), "ENOSYS"),  # newer than the profile
    ],
)
def test_calls(number: int, args: tuple[int, ...], expected: str) -> None:
    assert answer(lambda: call(number, *args), capabilities.DEFAULT) == expected


@pytest.mark.parametrize(
    ("number", "args", "expected"),
    [
        (20, (), "ok"),  # getpid
        (310, (0x20000,), "EPERM"),  # unshare
        (288, (0,), "EPERM"),  # keyctl
        (21, (), "EPERM"),  # mount
        (359, (38, 5), "EPERM"),  # socket(AF_ALG)
        (102, (1, 0), "ENOSYS"),  # socketcall(SYS_SOCKET)
        (102, (2, 0), "EFAULT"),  # socketcall(SYS_BIND) is let through
    ],
)
def test_calls_by_int_0x80(number: int, args: tuple[int, ...], expected: str) -> None:
    if old_call(20) != "ok":
        pytest.skip("kernel without 32-bit calls")
    assert answer(lambda: old_call(number, *args), capabilities.DEFAULT) == expected


def test_a_capability_unlocks() -> None:
    assert answer(lambda: call(272, 0x20000), capabilities.NAMES) == "ok"
