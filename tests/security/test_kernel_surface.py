"""Parts of the kernel in which holes are found again and again, and which no program of a container's needs: closed, also by 32-bit calls.

AF_ALG, AF_VSOCK, io_uring, userfaultfd, keyctl, bpf, perf, module loading, mounts, namespaces; TIOCSTI is in test_console_tricks.py.
First the compiled default profile on the real kernel, then the same calls by an attacker in a container, by run and by exec.
Guard: oci/seccomp_default.py, loaded by `_shed` of oci/init/child.py; with `seccomp: unconfined` the calls are answered otherwise
(`test_without_the_filter`), and a filter for 64-bit calls alone lets those through int 0x80.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.security.hostile import PYTHON, Hostile

from hakobune.linux.syscalls import seccomp_load
from hakobune.oci import capabilities, seccomp, seccomp_default
from hakobune.testing.engine import PrivateEngine
from hakobune.testing.hand import Runtime

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


# (name, number, arguments) of x86_64, then of i386 <asm/unistd_32.h>
LONG = [
    ("socket AF_ALG", 41, 38, 5),
    ("socket AF_VSOCK", 41, 40, 1),
    ("io_uring_setup", 425, 1, 0),
    ("io_uring_enter", 426, -1, 0),
    ("userfaultfd", 323, 1, 0),
    ("keyctl", 250, 0, -3),
    ("add_key", 248, 0, 0),
    ("request_key", 249, 0, 0),
    ("bpf", 321, 0, 0),
    ("perf_event_open", 298, 0, 0),
    ("init_module", 175, 0, 0),
    ("finit_module", 313, -1, 0),
    ("kexec_load", 246, 0, 0),
    ("mount", 165, 0, 0),
    ("umount2", 166, 0, 0),
    ("pivot_root", 155, 0, 0),
    ("open_tree", 428, -1, 0),
    ("fsopen", 430, 0, 0),
    ("move_mount", 429, -1, 0),
    ("unshare", 272, 0x10000000, 0),
    ("unshare NEWNS", 272, 0x20000, 0),
    ("setns", 308, -1, 0),
    ("clone3", 435, 0, 0),
    ("open_by_handle_at", 304, -1, 0),
    ("reboot", 169, 0, 0),
    ("swapon", 167, 0, 0),
    ("iopl", 172, 3, 0),
    ("acct", 163, 0, 0),
    ("quotactl", 179, 0, 0),
    ("lookup_dcookie", 212, 0, 0),
    ("nfsservctl", 180, 0, 0),
    ("personality", 135, 0x40000, 0),
]
SHORT = [
    ("socket AF_ALG", 359, 38, 5), ("socket AF_VSOCK", 359, 40, 1), ("socketcall", 102, 1, 0), ("io_uring_setup", 425, 1, 0),
    ("userfaultfd", 374, 1, 0), ("keyctl", 288, 0, -3), ("add_key", 286, 0, 0), ("request_key", 287, 0, 0), ("bpf", 357, 0, 0),
    ("perf_event_open", 336, 0, 0), ("init_module", 128, 0, 0), ("mount", 21, 0, 0), ("umount", 22, 0, 0), ("unshare", 310, 0x10000000, 0),
    ("setns", 346, -1, 0), ("clone3", 435, 0, 0), ("reboot", 88, 0, 0), ("open_by_handle_at", 342, -1, 0), ("ptrace of old", 26, 0xFFFF, 0),
    ("vm86", 166, 0, 0), ("vm86old", 113, 0, 0), ("modify_ldt in vain", 123, 99, 0),
]  # fmt: skip
REFUSED = {"EPERM", "ENOSYS"}
ATTACKER = """\
import ctypes, errno, json, mmap, sys
libc = ctypes.CDLL(None, use_errno=True)
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex("%s"))
short = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_uint] * 3)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
def long(number, *words):
    done = libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(word & (1 << 64) - 1) for word in (*words, 0, 0, 0)])
    return ctypes.get_errno() if done < 0 else 0
found = {}
for kind, call, calls in (("64", long, %r), ("32", lambda number, *words: -min(0, short(number, *[word & 0xFFFFFFFF for word in words])), %r)):
    if kind == "32" and "32" not in sys.argv[1:]:
        continue
    for name, number, *words in calls:
        failed = call(number, *words)
        found[kind + " " + name] = errno.errorcode.get(failed, str(failed)) if failed else "ok"
print(json.dumps(found))
""" % (_INT80.hex(), LONG, SHORT)  # noqa: UP031
_BEARS_32 = old_call(20) == "ok" if platform.machine() == "x86_64" else False


def open_calls(said: str) -> dict[str, str]:
    """What was answered by anything but a refusal."""
    found: dict[str, Any] = json.loads(said)
    assert len(found) == len(LONG) + (len(SHORT) if _BEARS_32 else 0)
    return {name: answer for name, answer in found.items() if answer not in REFUSED}


# These do nothing, and the profile has them, as Docker's: they are here to be seen to be called.
HARMLESS = {"32 modify_ldt in vain", "32 ptrace of old"}


def test_by_the_program(hako: Runtime) -> None:
    image = Hostile(hako, "sh")
    image.python(ATTACKER)
    image.edit(lambda document: document["process"]["args"].extend(["32"] if _BEARS_32 else []))
    image.capable()
    done = image.run()
    assert open_calls(done.stdout).keys() <= HARMLESS, done.stderr


def test_by_the_shim(engine: PrivateEngine) -> None:
    binds = ["-v", "/usr:/usr:ro", "-v", f"{sys.base_prefix}:{sys.base_prefix}:ro"]
    line = [PYTHON, "-I", "-S", "-c", ATTACKER, *(["32"] if _BEARS_32 else [])]
    done = engine.hako("run", "--rm", *binds, "hako/starter", *line)
    assert open_calls(done.stdout).keys() <= HARMLESS, done.stderr
    engine.hako("run", "-d", "--name", "one", *binds, "hako/starter", "sleep", "60")
    for words in ([], ["--privileged"]):
        done = engine.hako("exec", *words, "one", *line)
        assert open_calls(done.stdout).keys() <= HARMLESS | (
            {"64 bpf"} if words == ["--privileged"] else set()
        ), done.stderr


def test_without_the_filter(engine: PrivateEngine) -> None:
    """The same attacker, so that the refusals are known to be the filter's."""
    binds = [
        "-v",
        "/usr:/usr:ro",
        "-v",
        f"{sys.base_prefix}:{sys.base_prefix}:ro",
        "--security-opt",
        "seccomp=unconfined",
    ]
    line = [PYTHON, "-I", "-S", "-c", ATTACKER, *(["32"] if _BEARS_32 else [])]
    done = engine.hako("run", "--rm", *binds, "hako/starter", *line)
    answered = open_calls(done.stdout).keys()
    assert {"64 unshare", "64 keyctl", "64 clone3"} <= answered, done.stderr
    assert not _BEARS_32 or {"32 keyctl", "32 add_key"} <= answered
