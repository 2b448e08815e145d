"""Reading and writing the small files of cgroupfs, with as few system calls as it takes."""

from __future__ import annotations

import os

_READ = os.O_RDONLY | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CLOEXEC


def write(path: str, value: str) -> None:
    """One write(2): cgroupfs takes a value whole or not at all. Raises OSError with the path."""
    fd = os.open(path, _WRITE)
    try:
        os.write(fd, value.encode())
    except OSError as err:
        raise OSError(err.errno, err.strerror, path) from err
    finally:
        os.close(fd)


def read(path: str) -> str:
    """The whole file, without its last newline. Raises OSError."""
    fd = os.open(path, _READ)
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
    except OSError as err:
        raise OSError(err.errno, err.strerror, path) from err
    finally:
        os.close(fd)
    return b"".join(parts).decode("ascii", "replace").rstrip("\n")


def read_optional(path: str) -> str:
    """As `read`, but what is missing or unreadable is the empty text."""
    try:
        return read(path)
    except OSError:
        return ""


def number(path: str) -> int | None:
    """A file with one number; None when there is no such file or its text is not a number (`max`)."""
    text = read_optional(path)
    return int(text) if text.lstrip("-").isdigit() else None


def pairs(path: str) -> dict[str, int]:
    """A flat keyed file (`memory.stat`, `cpu.stat`); a missing file is an empty table."""
    found = {}
    for line in read_optional(path).splitlines():
        key, _, value = line.rpartition(" ")
        if value.lstrip("-").isdigit():
            found[key] = int(value)
    return found


def pids(directory: str) -> list[int]:
    """Process ids directly in this group; a group that is gone has none."""
    return [int(line) for line in read_optional(directory + "/cgroup.procs").split()]


def children(directory: str) -> list[str]:
    """Paths of the groups directly below this one."""
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
