"""The stage: prints each command with docker's spelling beside it, runs it, shows its output, keeps the score."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .engine import Engine, Peer

_WIDEST = 120
_MARGIN = 3
_GAP = 2
_TICK = 0.02
_SECONDS = 30.0


class StoryFailed(Exception):
    """A command of the story did not do what the next one builds on."""


class Stage:
    """Where the story is played. `failed` lists every claim that was not so."""

    def __init__(self, engine: Engine, command: list[str], peers: Sequence[Peer] = ()) -> None:
        self.engine = engine
        self.peers = peers
        self.failed: list[str] = []
        self._command = command
        self._running: list[subprocess.Popen[str]] = []
        self.width = min(shutil.get_terminal_size().columns, _WIDEST)
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def chapter(self, number: int, title: str) -> None:
        """A heading."""
        self._print(f"\n{number}. {title}\n", "1")

    def tell(self, text: str) -> None:
        """Narration, broken into lines that fit."""
        for line in textwrap.wrap(text, self.width - _MARGIN, break_on_hyphens=False):
            self._print(f"   {line}", "2")

    def show(self, text: str) -> None:
        """Lines of output, set in."""
        for line in text.splitlines():
            self._print(f"     {line}")

    def hako(self, *words: str, fine: tuple[int, ...] = (0,), quiet: bool = False) -> str:
        """Run `hako words`, print the line and what came of it; returns standard output.

        Raises StoryFailed when the exit code is not among `fine`. `quiet` prints neither line nor output.
        """
        if not quiet:
            self._line(words)
        done = subprocess.run(
            [*self._command, *words],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS * 2,
            check=False,
        )
        if not quiet:
            self.show(done.stdout + done.stderr)
        if done.returncode not in fine:
            text = "" if not quiet else f": {done.stderr.strip()}"
            raise StoryFailed(f"`hako {shlex.join(words)}` ended with {done.returncode}{text}")
        self.code = done.returncode
        return done.stdout

    def session(self, *words: str) -> subprocess.Popen[str]:
        """Start `hako words &` and leave it running; it is ended with the story if not before."""
        self._line((*words, "&"))
        process = subprocess.Popen(
            [*self._command, *words],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._running.append(process)
        return process

    def claim(self, text: str, true: bool, *, otherwise: str = "") -> None:
        """Say what should be so; when it is not, the story ends with a non-zero code."""
        if true:
            self._print(f"   ✓ {text}", "32")
            return
        self.failed.append(text)
        self._print(f"   ✗ NOT SO: {text}{f' ({otherwise})' if otherwise else ''}", "31")

    def until(self, condition: Callable[[], object], seconds: float = 5.0) -> bool:
        """Poll a condition; False when it does not become true in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(_TICK)
        return True

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Ctrl-C waits until the block is done: an engine that is half up cannot clean up after itself."""
        asked: list[int] = []
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, lambda one, _frame: asked.append(one)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
        if asked:
            raise KeyboardInterrupt

    def close(self) -> None:
        """End the sessions that still run."""
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "DOCKER_HOST": self.engine.host}

    def _line(self, words: tuple[str, ...]) -> None:
        quoted = [word if word == "&" else shlex.quote(word) for word in words]
        ours, theirs = ["$ hako", *quoted], ["# docker", *quoted]
        side = (self.width - _MARGIN - _GAP) // 2
        if len(" ".join(theirs)) <= side:
            self._print(f"   {' '.join(ours):<{side}}{' ' * _GAP}{' '.join(theirs)}", "36")
            return
        for line in (*_continued(ours, self.width), *_continued(theirs, self.width)):
            self._print(f"   {line}", "36")

    def _print(self, text: str, colour: str = "") -> None:
        print(f"\033[{colour}m{text}\033[0m" if colour and self._colour else text, flush=True)


def _continued(words: list[str], width: int) -> list[str]:
    """A command as lines that fit, the way a shell reads them."""
    lines, room = [words[0]], width - _MARGIN - 2
    for word in words[1:]:
        if word == "&" or len(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines[-1] += " \\"
            lines.append(f"  {word}")
    return lines
