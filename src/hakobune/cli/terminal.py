"""The person's terminal: raw mode while a session lasts, its size, and the keys that leave a session."""

from __future__ import annotations

import os
import signal
import termios
from collections.abc import Callable

from .failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType

_STDIN, _STDOUT = 0, 1
_NAMED = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}
DEFAULT_KEYS = "ctrl-p,ctrl-q"


def check_tty(*, stdin: bool, tty: bool) -> None:
    """A terminal inside wants one outside when standard input is connected. Raises Failure."""
    if stdin and tty and not os.isatty(_STDIN):
        raise Failure("the input device is not a TTY")


def size() -> tuple[int, int] | None:
    """(rows, columns) of the terminal that standard output is, or None."""
    try:
        columns, rows = os.get_terminal_size(_STDOUT)
    except OSError:
        return None
    return (rows, columns) if rows and columns else None


def parse_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` as the bytes a terminal sends. Raises Failure."""
    keys = bytearray()
    for word in text.split(","):
        letter = word.removeprefix("ctrl-")
        if len(word) == 1:
            keys += word.encode()
        elif len(letter) == 1 and word != letter and ("a" <= letter <= "z" or letter in _NAMED):
            keys.append(_NAMED.get(letter, ord(letter) & 31))
        else:
            raise Failure(f"invalid detach keys ({text}) provided: unknown character: '{word}'", 125)
    return bytes(keys)


class DetachKeys:
    """Looks for a sequence of keys in what is typed; half a sequence is held back until it is none."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(bytes to pass on, whether the sequence is complete)."""
        if not self._keys:
            return data, False
        out = bytearray()
        for byte in data:
            if byte == self._keys[self._held]:
                self._held += 1
                if self._held == len(self._keys):
                    return bytes(out), True
                continue
            out += self._keys[: self._held]
            self._held = 0
            if byte == self._keys[0]:
                self._held = 1
            else:
                out.append(byte)
        return bytes(out), False


class Raw:
    """While open, keys arrive one by one and unchanged, and `resized` is called now and at each new size.

    The terminal is as it was afterwards, also when this process is asked to end. Keys stay as they are for what
    is no terminal, and without `typing`: then ctrl-c is for us.
    """

    def __init__(self, resized: Callable[[int, int], None], *, typing: bool = True) -> None:
        self._resized = resized
        self._typing = typing
        self._before: list[int | list[bytes | int]] | None = None

    def __enter__(self) -> Raw:
        if self._typing and os.isatty(_STDIN):
            self._before = termios.tcgetattr(_STDIN)
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, _raw(self._before))
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, _end)
        signal.signal(signal.SIGWINCH, self._changed)
        return self

    def _changed(self, _signal: int, _frame: FrameType | None) -> None:
        self.tell()

    def tell(self) -> None:
        """Say the present size; an engine that does not want it now is not asked again."""
        now = size()
        if now:
            try:
                self._resized(*now)
            except Failure:
                return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        if self._before is not None:
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, self._before)


def _raw(before: list[int | list[bytes | int]]) -> list[int | list[bytes | int]]:
    """termios(3), cfmakeraw."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, control = before
    assert isinstance(iflag, int)
    assert isinstance(oflag, int)
    assert isinstance(cflag, int)
    assert isinstance(lflag, int)
    assert isinstance(control, list)
    iflag &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    oflag &= ~termios.OPOST
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cflag = (cflag & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
    control = list(control)
    control[termios.VMIN], control[termios.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, control]


def _end(number: int, _frame: FrameType | None) -> None:
    raise Failure("", 128 + number)
