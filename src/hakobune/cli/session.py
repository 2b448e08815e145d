"""A hijacked connection and this process's own standard streams, pumped both ways by one loop.

Nothing here blocks one direction on the other: input waits in a bounded buffer while the container does
not read, and output goes on. End of input closes only our half of the connection.
"""

from __future__ import annotations

import os
import select
import socket

from ..wire.stdcopy import Decoder
from .failure import Failure
from .http import Response
from .terminal import DetachKeys

_STDIN = 0
_DESCRIPTORS = {"stdin": 1, "stdout": 1, "stderr": 2}
_BLOCK = 1 << 16
_MOST_WAITING = 1 << 18
_ENDED = select.POLLIN | select.POLLHUP | select.POLLERR


class Session:
    """One attach or exec: `run()` returns True when the person left by the detach keys, False at its end."""

    def __init__(self, response: Response, *, tty: bool, stdin: bool, keys: bytes = b"") -> None:
        self._sock = response.sock
        self._early = response.early
        self._decoder = None if tty else Decoder()
        self._reading = stdin
        self._ending = False
        self._keys = DetachKeys(keys)
        self._waiting = bytearray()

    def run(self) -> bool:
        """Pump until the engine closes. Raises Failure when the connection breaks."""
        try:
            self._print(self._early)
            return self._loop()
        except ValueError as err:
            raise Failure(f"the engine's stream makes no sense: {err}") from err
        finally:
            self._sock.close()

    def _loop(self) -> bool:
        while True:
            for number, _ in self._poller().poll():
                if number == _STDIN:
                    if self._take_input():
                        return True
                elif not self._exchange():
                    return False

    def _poller(self) -> select.poll:
        poller = select.poll()
        poller.register(self._sock, select.POLLIN | (select.POLLOUT if self._waiting else 0))
        if self._reading and len(self._waiting) < _MOST_WAITING:
            poller.register(_STDIN, select.POLLIN)
        return poller

    def _take_input(self) -> bool:
        """Read what was typed; True when the detach keys are complete."""
        try:
            data = os.read(_STDIN, _BLOCK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        passed, left = self._keys.feed(data)
        self._waiting += passed
        if not data:
            self._reading = False
            self._ending = True
        self._send()
        return left

    def _exchange(self) -> bool:
        """Send and receive what can be; False at the end of the stream."""
        self._send()
        try:
            data = self._sock.recv(_BLOCK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        self._print(data)
        return bool(data)

    def _send(self) -> None:
        try:
            while self._waiting:
                sent = self._sock.send(self._waiting, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                del self._waiting[:sent]
            if self._ending:
                self._ending = False
                self._sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError:
            # nobody reads any more; the output still counts
            self._waiting.clear()
            self._reading = self._ending = False

    def _print(self, data: bytes) -> None:
        if self._decoder is None:
            write_all(1, data)
            return
        for stream, part in self._decoder.feed(data):
            write_all(_DESCRIPTORS.get(stream, 1), part)


def write_all(descriptor: int, data: bytes) -> None:
    """write(2) until everything is out; waits when a terminal set to non-blocking is full."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
