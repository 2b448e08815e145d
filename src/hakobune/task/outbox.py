"""Bytes on their way to a descriptor that may be slow: memory first, then a file without a name.

A slow client must not hold the container, and must not lose a byte either: what does not fit in
memory goes to an unlinked file beside the log and is sent from there. Only when that file cannot be
written (disk full) does the outbox call itself `full`, and its feeder has to pause.
A FIFO of another engine's client gets no spill: there, a slow reader is meant to slow the container.
Imports: os.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

from hakobune.task.luggage import Luggage, Packed, data, text

MEMORY_LIMIT = 256 * 1024
_CHUNK = 64 * 1024


class Outbox:
    """Sends to `fd` (non-blocking, owned by the caller); the caller calls `flush` when it is writable.

    `ask(wanted)` says whether that should be watched, `on_gone()` is called once when the other side
    cannot be written to any more, `on_room()` when a full outbox has emptied.
    """

    def __init__(self, fd: int, *, spill: str, ask: Callable[[bool], None], on_gone: Callable[[], None],
                 on_room: Callable[[], None]) -> None:  # fmt: skip
        self.fd = fd
        self._ask = ask
        self._spill_directory = spill
        self._on_gone = on_gone
        self._on_room = on_room
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._tail: deque[bytes] = deque()  # what the disk did not take: comes after the file
        self._spill = -1
        self._spilled = 0  # bytes written to the file
        self._sent = 0  # bytes of the file that went out
        self._then: Callable[[], None] | None = None
        self._was_full = False
        self.gone = False

    def pack(self, luggage: Luggage) -> Packed:
        """What is still to be sent."""
        return {
            "queue": text(b"".join(self._queue)), "tail": text(b"".join(self._tail)),
            "spill": luggage.pack(self._spill), "spilled": self._spilled, "sent": self._sent,
            "finishing": self._then is not None,
        }  # fmt: skip

    def unpack(self, packed: Packed, luggage: Luggage) -> None:
        """Take over what another one had to send; `finish` is the caller's to say again."""
        for queue, name in ((self._queue, "queue"), (self._tail, "tail")):
            if packed[name]:
                queue.append(data(packed[name]))
        self._queued = sum(map(len, self._queue))
        self._spill = luggage.take(packed["spill"])
        self._spilled, self._sent = packed["spilled"], packed["sent"]
        self._was_full = self.full
        if not self.empty:
            self._ask(True)

    @property
    def empty(self) -> bool:
        """Nothing is left to send."""
        return not self._queue and self._sent >= self._spilled and not self._tail

    @property
    def full(self) -> bool:
        """The feeder should pause until `on_room`."""
        return bool(self._tail)

    def write(self, data: bytes) -> None:
        """Send now as much as the kernel takes, keep the rest."""
        if self.gone or not data:
            return
        if self.empty:
            data = self._try(data)
            if not data:
                return
        if self._spill < 0 and not self._tail and self._queued + len(data) <= MEMORY_LIMIT:
            self._queue.append(data)
            self._queued += len(data)
        elif self._tail or not self._to_file(data):
            self._tail.append(data)
        self._was_full = self._was_full or self.full
        self._ask(True)

    def finish(self, then: Callable[[], None]) -> None:
        """Call `then` when everything is sent, or the other side is gone."""
        if self.gone or self.empty:
            then()
        else:
            self._then = then

    def drop(self) -> None:
        """Forget everything unsent; silent when called twice."""
        self.gone = True
        self._queue.clear()
        self._tail.clear()
        if self._spill >= 0:
            os.close(self._spill)
            self._spill = -1

    def flush(self) -> None:
        """The descriptor is writable: to be called by whoever watches it."""
        while not self.empty and not self.gone:
            chunk = self._next()
            rest = self._try(chunk)
            if self.gone:
                return
            self._took(len(chunk) - len(rest), rest)
            if rest:
                return
        self._ask(False)
        if self._was_full:
            self._was_full = False
            self._on_room()
        if self._then is not None:
            then, self._then = self._then, None
            then()

    def _next(self) -> bytes:
        if not self._queue and self._sent >= self._spilled:
            self._queue, self._tail = self._tail, self._queue
            self._queued = sum(map(len, self._queue))
        if self._queue:
            return self._queue[0]
        return os.pread(self._spill, _CHUNK, self._sent)

    def _took(self, count: int, rest: bytes) -> None:
        if self._queue:
            self._queued -= count
            if rest:
                self._queue[0] = rest
            else:
                self._queue.popleft()
            return
        self._sent += count
        if self._sent >= self._spilled:
            os.close(self._spill)
            self._spill, self._spilled, self._sent = -1, 0, 0

    def _try(self, data: bytes) -> bytes:
        try:
            return data[os.write(self.fd, data) :]
        except BlockingIOError:
            return data
        except OSError:
            self._lost()
            return b""

    def _lost(self) -> None:
        if self.gone:
            return
        then, self._then = self._then, None
        self.drop()
        self._on_gone()
        if then is not None:
            then()

    def _to_file(self, data: bytes) -> bool:
        """Append to the spill file; False when there is none to be had or the disk is full."""
        if not self._spill_directory:
            return False
        try:
            if self._spill < 0:
                flags = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
                self._spill = os.open(self._spill_directory, flags, 0o600)
            view = memoryview(data)
            at = self._spilled
            while view:
                count = os.pwrite(self._spill, view, at)
                view, at = view[count:], at + count
        except OSError:
            if self._spill >= 0 and not self._spilled:
                os.close(self._spill)
                self._spill = -1
            # A part may stand behind `_spilled`; the next success overwrites it.
            return False
        self._spilled += len(data)
        return True
