"""One descriptor in the loop, read and written: a client's connection, a pty's master, a pipe's end.

Reading is level-triggered, one chunk an event, and can be paused; writing goes through an `Outbox`.
Imports: os, loop, outbox.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from hakobune.task.loop import GONE, IN, OUT, Loop
from hakobune.task.luggage import Luggage, Packed
from hakobune.task.outbox import Outbox

CHUNK = 64 * 1024


def _nothing() -> None:
    """The default of a call-back nobody waits for."""


class Duplex:
    """Owns `fd` until `close`.

    `on_data(bytes)`: something was read. `on_end()`: the other side has finished sending (it may still
    read). `on_gone()`: the other side has gone altogether; called once, never after `close`.
    """

    def __init__(
        self,
        loop: Loop,
        fd: int,
        *,
        on_data: Callable[[bytes], None] | None = None,
        on_end: Callable[[], None] = _nothing,
        on_gone: Callable[[], None] = _nothing,
        on_room: Callable[[], None] = _nothing,
        spill: str = "",
    ) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.closed = False
        self._loop = loop
        self._on_data = on_data
        self._on_end = on_end
        self._on_gone = on_gone
        self._reading = on_data is not None
        self._paused = False
        self._asked = False
        self.out = Outbox(fd, spill=spill, ask=self._ask, on_gone=self._lost, on_room=on_room)
        self._watch()

    def pack(self, luggage: Luggage) -> Packed:
        """Its state, for another process."""
        return {
            "fd": luggage.pack(self.fd), "reading": self._reading, "paused": self._paused,
            "out": self.out.pack(luggage),
        }  # fmt: skip

    def unpack(self, packed: Packed, luggage: Luggage) -> Duplex:
        """Go on where another process stood; itself, for the line that has just made it."""
        self._reading = self._reading and packed["reading"]
        self._paused = packed["paused"]
        self.out.unpack(packed["out"], luggage)
        if packed["out"]["finishing"]:
            self.out.finish(self.close)
        self._watch()
        return self

    def write(self, data: bytes) -> None:
        """Send, or keep for later; silent once the other side is gone."""
        if not self.closed:
            self.out.write(data)

    def pause(self, paused: bool) -> None:
        """Stop or go on reading."""
        self._paused = paused
        self._watch()

    def close_after(self, done: Callable[[], None] = _nothing) -> None:
        """Close when all that was written is out; `done` is called then."""

        def finish() -> None:
            self.close()
            done()

        if not self.closed:
            self.pause(True)
            self.out.finish(finish)

    def close(self) -> None:
        """Close now; silent when called twice."""
        if not self.closed:
            self.release()
            os.close(self.fd)

    def release(self) -> int:
        """Let go of the descriptor without closing it (it travels elsewhere)."""
        self.closed = True
        self._loop.unwatch(self.fd)
        self.out.drop()
        return self.fd

    def _ask(self, wanted: bool) -> None:
        if wanted != self._asked:
            self._asked = wanted
            self._watch()

    def _watch(self) -> None:
        if self.closed:
            return
        reading = IN if self._reading and not self._paused else 0
        self._loop.watch(self.fd, reading | (OUT if self._asked else 0), self._ready)

    def _ready(self, events: int) -> None:
        if events & OUT:
            self.out.flush()
        if self.closed:
            return
        if events & IN:
            self._read()
        elif events & GONE:
            # EPOLLHUP comes with a half-closed pair too; data still to be read has come as IN above.
            self._ended() if self._reading and not self._paused else self._hung_up()

    def _read(self) -> None:
        try:
            data = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: no slave of this pty is open any more; ECONNRESET
            data = b""
        if data and self._on_data is not None:
            self._on_data(data)
        elif not data:
            self._ended()

    def _ended(self) -> None:
        self._reading = False
        self._watch()
        self._on_end()

    def _hung_up(self) -> None:
        if self._paused and self._reading:
            # Paused by us: what the other side sent before it went is still to be read later.
            self._loop.unwatch(self.fd)
            return
        self._lost()

    def _lost(self) -> None:
        if self.closed:
            return
        self._loop.unwatch(self.fd)
        self.closed = True
        self.out.drop()
        os.close(self.fd)
        self._on_gone()
