"""bpf(2), as far as device rules on cgroup v2 need it: load, attach, list, detach.

Structures follow `union bpf_attr` of <linux/bpf.h>. Imports: ctypes, os, struct.
"""

from __future__ import annotations

import ctypes
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

_NR_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}

# enum bpf_cmd, bpf_prog_type, bpf_attach_type
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_PROG_TYPE_CGROUP_DEVICE = 15
_CGROUP_DEVICE = 6
_ALLOW_MULTI = 2  # BPF_F_ALLOW_MULTI: every attached program must agree, ours and an outer manager's


def _bpf(command: int, attr: bytes) -> tuple[int, bytes]:
    number = _NR_BPF.get(os.uname().machine)
    if number is None:
        raise OSError(38, "bpf: no system call number for this machine")
    block = ctypes.create_string_buffer(attr, len(attr))
    result = _syscall(ctypes.c_long(number), ctypes.c_int(command), block, ctypes.c_uint(len(attr)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "bpf")
    return result, block.raw


def load_device_program(instructions: bytes) -> int:
    """Verify and load a program; returns its descriptor. Raises OSError (EPERM without CAP_BPF)."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attr = struct.pack(
        "=IIQQIIQII16s", _PROG_TYPE_CGROUP_DEVICE, len(instructions) // 8, ctypes.addressof(code),
        ctypes.addressof(licence), 0, 0, 0, 0, 0, b"hako_devices",
    )  # fmt: skip
    return _bpf(_PROG_LOAD, attr)[0]


def attach(cgroup_fd: int, program_fd: int) -> None:
    """Attach to a v2 directory; the group holds the program from now on. Raises OSError."""
    _bpf(_PROG_ATTACH, struct.pack("=IIIII", cgroup_fd, program_fd, _CGROUP_DEVICE, _ALLOW_MULTI, 0))


def attached(cgroup_fd: int) -> list[int]:
    """Descriptors of the programs attached to exactly this group; the caller closes them. Raises OSError."""
    ids = (ctypes.c_uint32 * 64)()
    attr = struct.pack("=IIIIQII", cgroup_fd, _CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), 64, 0)
    count = struct.unpack_from("=I", _bpf(_PROG_QUERY, attr)[1], 24)[0]
    return [_bpf(_PROG_GET_FD_BY_ID, struct.pack("=III", ids[i], 0, 0))[0] for i in range(count)]


def detach(cgroup_fd: int, program_fd: int) -> None:
    """Undo one `attach`. Raises OSError."""
    _bpf(_PROG_DETACH, struct.pack("=IIIII", cgroup_fd, program_fd, _CGROUP_DEVICE, 0, 0))
