"""What several verbs do with one container: connect to it, wait for it, pass signals to it."""

from __future__ import annotations

import signal

from ..command import Context
from ..failure import ApiFailure, Failure
from ..http import Response, query
from ..terminal import Raw
from .names import path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

_NOT_FOUND, _NOT_RUNNABLE, _REFUSED = 127, 126, 125
_PASSED_ON = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCONT")


def attach(context: Context, name: str, streams: set[str], *, keys: str = "", logs: bool = False) -> Response:
    """Connect to the streams; output that comes from now on is not missed."""
    wanted = dict.fromkeys(sorted(streams), True)
    extra = {"detachKeys": keys or None, "logs": True if logs else None}
    return context.client.open(
        "POST", path(name, "/attach") + query(stream=True, **wanted, **extra), upgrade=True
    )


class Waiter:
    """Asks for a container's exit before it starts, so that no end is too quick to be seen."""

    def __init__(self, context: Context, name: str, condition: str) -> None:
        self._response = context.client.open("POST", path(name, "/wait") + query(condition=condition))

    def code(self) -> int:
        """Wait; 125 when the engine says that something went wrong with the container itself."""
        try:
            answer = next(self._response.lines(), None)
        except (Failure, OSError) as err:
            raise Failure(f"error waiting for container: {err}", _REFUSED) from err
        if not isinstance(answer, dict):
            raise Failure("the engine ended before the container did", _REFUSED)
        error = answer.get("Error")
        if error and error.get("Message"):
            raise Failure(f"error waiting for container: {error['Message']}", _REFUSED)
        return int(answer["StatusCode"])

    def settle(self, seconds: float) -> None:
        """Wait for the end, but not for longer, and care for nothing."""
        self._response.sock.settimeout(seconds)
        try:
            self.code()
        except (Failure, OSError, ValueError):
            self._response.sock.close()


def exit_code_of(err: ApiFailure) -> int:
    """The code of a command that could not be started: 127 not found, 126 not executable, 125 anything else."""
    text = err.reason.lower()
    if "executable file not found" in text or "no such file or directory" in text:
        return _NOT_FOUND
    return _NOT_RUNNABLE if "permission denied" in text or "is a directory" in text else _REFUSED


def pass_signals_on(context: Context, name: str) -> None:
    """From now on a signal for this process goes to the container's command instead."""

    def forward(number: int, _frame: FrameType | None) -> None:
        try:
            context.client.post(path(name, "/kill") + query(signal=signal.Signals(number).name))
        except Failure:
            return

    for signal_name in _PASSED_ON:
        signal.signal(getattr(signal, signal_name), forward)


def screen(context: Context, resize: str, *, typing: bool) -> Raw:
    """The terminal's size told to `resize`, a path of the API; in raw mode when what is typed goes there too."""
    return Raw(lambda rows, columns: context.client.post(resize + query(h=rows, w=columns)), typing=typing)
