"""What a container's later execs need of its configuration, kept in its bundle at the creation.

An exec then reads one small file instead of parsing config.json. Format: `spawnable` (1 byte), the flags word
of seccomp(2) (4 bytes, little-endian), the compiled program; nothing after the first byte where there is no
filter. Imports: os.
"""

from __future__ import annotations

import os

from hakobune.record import dataclass

_HEAD = 5  # bytes
_MOST = _HEAD + 8 * 4096  # BPF_MAXINSNS instructions (linux/bpf_common.h)


@dataclass(frozen=True, slots=True)
class Filter:
    """A compiled seccomp filter (`program` is None for none) with the flags of its load."""

    program: bytes | None
    flags: int
    spawnable: bool  # an exec of this container may be spawned, see oci.init.child.spawn


def write(path: str, kept: Filter) -> None:
    """Whole or not at all. One that cannot be kept is made again by each exec."""
    data = bytes((kept.spawnable,))
    if kept.program is not None:
        data += kept.flags.to_bytes(_HEAD - 1, "little") + kept.program
    try:
        fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            whole = os.write(fd, data) == len(data)
        finally:
            os.close(fd)
        if whole:
            os.rename(path + ".new", path)
    except OSError:
        return


def read(path: str) -> Filter | None:
    """As `write` left it; None when there is no such file, or none of ours."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(fd, _MOST)
    finally:
        os.close(fd)
    if len(data) == 1:
        return Filter(None, 0, data == b"\1")
    if len(data) <= _HEAD or (len(data) - _HEAD) % 8:
        return None
    return Filter(data[_HEAD:], int.from_bytes(data[1:_HEAD], "little"), data[0] == 1)
