"""What the processes of a creation say to each other over one SOCK_SEQPACKET pair.

The far end is held by whoever asked (the shim, or `hako-runtime`); the near end is inherited by the
throw-away worker and by the init process. A packet is one message; the end of the channel after
START means that exec(2) has succeeded, since the near end closes on exec. Imports: linux.sockets, errors.
"""

from __future__ import annotations

from hakobune import errors
from hakobune.errors import HakoError
from hakobune.linux import sockets
from hakobune.linux.sockets import Socket

CGROUP = b"G"  # worker: the container's cgroup stands from here on; its path, then a line for the asker
PID = b"P"  # worker: the init's (exec's) pid
READY = b"R"  # init: everything is made, waiting for START; warnings, one a line; + the pty's master
FAILED = b"E"  # either: code, message
START = b"S"  # far end: exec now; to an exec's worker with the three streams, or with none for a terminal

MAX_MESSAGE = 64 * 1024
Size = tuple[int, int]  # rows, columns


def pair() -> tuple[Socket, Socket]:
    """(far, near), both close-on-exec."""
    return sockets.pair(sockets.SEQPACKET)


def say_cgroup(near: Socket, path: str, note: str) -> None:
    """Worker: the cgroup is ours, and there; `note` is what the asker wants to know of the config."""
    near.send(CGROUP + f"{path}\n{note}".encode())


def say_pid(near: Socket, pid: int) -> None:
    """Worker: the process exists. The process itself may have spoken before."""
    near.send(PID + b"%d" % pid)


def say_ready(near: Socket, warnings: list[str], console: int = -1) -> None:
    """Init: ready for START. `console` is the pty's master, or -1."""
    text = "\n".join(warning.replace("\n", " ") for warning in warnings)[: MAX_MESSAGE - 1]
    if console >= 0:
        sockets.send(near, READY + text.encode(), console)
    else:
        near.send(READY + text.encode())


def start_exec(size: Size | None) -> bytes:
    """START for an exec's worker; with the size that its terminal has by now."""
    return START if size is None else START + b"%d %d" % size


def started_size(packet: bytes) -> Size | None:
    """The size that came with START."""
    rows, _, columns = packet[1:].partition(b" ")
    return (int(rows), int(columns)) if columns else None


def say_failed(near: Socket, err: BaseException) -> None:
    """Either: this creation has failed."""
    near.send(failed(err))


def failed(err: BaseException) -> bytes:
    """What `say_failed` sends."""
    code = err.code if isinstance(err, HakoError) else errors.Code.UNKNOWN
    text = describe(err)
    return FAILED + b"%d\n" % code + text.encode("utf-8", "surrogateescape")[: MAX_MESSAGE - 16]


def describe(err: BaseException) -> str:
    """One sentence for an exception; system calls as `path: no such file or directory`."""
    if isinstance(err, OSError) and err.strerror:
        name = f"{err.filename}: " if err.filename is not None else ""
        return f"{name}{err.strerror[:1].lower()}{err.strerror[1:]}"
    return str(err) or type(err).__name__


def failure(packet: bytes) -> HakoError:
    """The exception that a FAILED packet carries."""
    code, _, text = packet[1:].partition(b"\n")
    return errors.from_code(int(code), text.decode("utf-8", "replace"))
