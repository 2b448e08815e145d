"""The command line that `ps` shows for a shim: the zygote's own, written over in place.

PR_SET_MM_ARG_START would need CAP_SYS_RESOURCE, so the text has to fit into the memory that the
kernel gave the zygote's arguments; `cmd/zygote.py` starts it with padding for that.
Source: man 5 proc_pid_stat, fields 48 and 49. Imports: os.
"""

from __future__ import annotations

import os

_arguments: tuple[int, int] | None = None


def remember() -> None:
    """Find where our arguments are: once, in the zygote, before anything is forked."""
    global _arguments
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    # fields[0] is number 3 of the man page
    _arguments = (int(fields[45]), int(fields[46]))


def show_shim(namespace: str, container_id: str) -> None:
    """As containerd's own shims look in `ps`."""
    set_title(f"hako-shim -namespace {namespace} -id {container_id}".encode())


def show_understudy(zygote: str) -> None:
    """`zygote` is the path of the socket at which shims are asked for."""
    set_title(f"hako-understudy -zygote {zygote}".encode())


def set_title(text: bytes) -> None:
    """Show `text`, cut to the room there is; nothing happens when the room is unknown."""
    if _arguments is None:
        return
    start, end = _arguments
    room = end - start
    if room > 1:
        own = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
        os.pwrite(own, text[: room - 1].ljust(room, b"\0"), start)
        os.close(own)
