"""Unix sockets and signals straight from the C modules, for processes that count their pages.

The classes of `socket` and `signal` turn every number into an enum member; that alone dirties a quarter of
a megabyte of the memory that a shim shares with its zygote. Here numbers stay numbers.
Imports: _socket, _signal, array, fcntl.
"""

from __future__ import annotations

import array
import fcntl
import struct
from _signal import NSIG, SIG_BLOCK, SIG_DFL, SIG_IGN, SIG_SETMASK, SIG_UNBLOCK, alarm, pthread_sigmask  # type: ignore[import-not-found]
from _signal import getsignal as handler_of
from _signal import pidfd_send_signal as pidfd_send_signal
from _signal import set_wakeup_fd as set_wakeup_fd
from _signal import signal as set_handler
from _socket import AF_UNIX, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SO_PEERCRED, SO_RCVTIMEO, SOL_SOCKET, socketpair
from _socket import CMSG_SPACE as _space
from _socket import SOCK_SEQPACKET as _SEQPACKET
from _socket import SOCK_STREAM as _STREAM
from _socket import socket as Socket
from collections.abc import Callable

SEQPACKET = int(_SEQPACKET)
STREAM = int(_STREAM)
DEFAULT, IGNORE = SIG_DFL, SIG_IGN
_AF_INET, _DATAGRAM, _SIOCSIFFLAGS, _IFF_UP = 2, 2, 0x8914, 1
SIGINT, SIGKILL, SIGTERM, SIGCHLD = 2, 9, 15, 17  # <asm-generic/signal.h>
_OF_THE_LOOP = (SIGINT, SIGTERM, SIGCHLD)

_FD = array.array("i").itemsize


def hold_signals() -> None:
    """Those of the loop wait, also over an exec, until `release_signals`."""
    pthread_sigmask(SIG_BLOCK, _OF_THE_LOOP)


def release_signals() -> None:
    """What has waited comes now."""
    pthread_sigmask(SIG_UNBLOCK, _OF_THE_LOOP)


def unblock_signals() -> None:
    """None waits."""
    pthread_sigmask(SIG_SETMASK, ())


def reset(handled: Callable[[object], bool]) -> None:
    """The default for each signal whose handler is such a one: DEFAULT, IGNORE, a function, None where it is not Python's."""
    for number in range(1, NSIG):
        if handled(handler_of(number)):
            set_handler(number, DEFAULT)


def unix(kind: int) -> Socket:
    """A new socket, close-on-exec. Raises OSError."""
    return Socket(AF_UNIX, kind)


def pair(kind: int) -> tuple[Socket, Socket]:
    """Two connected sockets, close-on-exec. Raises OSError."""
    one, other = socketpair(AF_UNIX, kind)
    return one, other


def accept(listener: Socket, kind: int) -> Socket:
    """The next connection. Raises OSError."""
    fd, _address = listener._accept()  # type: ignore[attr-defined]
    return Socket(AF_UNIX, kind, 0, fd)


def adopt(fd: int, kind: int) -> Socket:
    """The socket behind a descriptor."""
    return Socket(AF_UNIX, kind, 0, fd)


def receive(channel: Socket, size: int, descriptors: int = 1) -> tuple[bytes, list[int]]:
    """One packet and the descriptors that came with it, close-on-exec. Raises OSError."""
    packet, notes, _flags, _address = channel.recvmsg(size, _space(descriptors * _FD), MSG_CMSG_CLOEXEC)
    found: list[int] = []
    for level, kind, raw in notes:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(raw[: len(raw) - len(raw) % _FD])
            found += numbers
    return packet, found


def send(channel: Socket, packet: bytes, *fds: int) -> None:
    """One packet with descriptors. Raises OSError."""
    channel.sendmsg([packet], [(SOL_SOCKET, SCM_RIGHTS, array.array("i", fds))])


def loopback_up() -> None:
    """Switch on `lo` of our network namespace: a new one has it down (netdevice(7), SIOCSIFFLAGS). Raises OSError."""
    control = Socket(_AF_INET, _DATAGRAM)
    fcntl.ioctl(control.fileno(), _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))
    control.close()


__all__ = [
    "DEFAULT", "IGNORE", "SEQPACKET", "SIGCHLD", "SIGINT", "SIGKILL", "SIGTERM", "SOL_SOCKET", "SO_PEERCRED", "SO_RCVTIMEO", "STREAM", "Socket", "accept", "adopt", "alarm",
    "hold_signals", "loopback_up",
    "pair", "pidfd_send_signal", "receive", "release_signals", "send", "set_handler", "set_wakeup_fd", "unix",
]  # fmt: skip
