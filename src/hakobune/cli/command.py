"""What a verb is: its usage, its flags, and the function that does it; and what it is given to work with.

The registry of all verbs is `verbs.py`; this module holds the shape only, so that each noun's module can
be loaded alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence

from .failure import Failure
from .flags import BadFlags, Flag, Parser, Values, read_table, render, wrap
from .http import Client

DEFAULT_HOST = "unix:///run/hakobune/docker.sock"
_HELP = "    --help  Show this page"


class Context:
    """One run of `hako`: the engine's address and where output goes."""

    def __init__(self, host: str = "") -> None:
        self.host = host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
        self.client = Client(self.host)

    def say(self, *lines: str) -> None:
        """Lines on standard output."""
        if lines:
            sys.stdout.write("\n".join(lines) + "\n")

    def warn(self, *lines: str) -> None:
        """Lines on standard error, after everything already said."""
        sys.stdout.flush()
        for line in lines:
            sys.stderr.write(line + "\n")


class Command:
    """One verb. `usage` is the line without `hako`; `run` returns the exit code.

    `least` and `most` bound the number of arguments (None: no upper bound); without `interspersed` flags end
    at the first argument, for what follows belongs to the container.
    """

    def __init__(
        self,
        usage: str,
        about: str,
        run: Callable[[Context, Values, list[str]], int],
        *,
        flags: str = "",
        least: int = 0,
        most: int | None = 0,
        interspersed: bool = True,
        failure_code: int = 1,
    ) -> None:
        self.usage = usage
        self.about = about
        self.run = run
        self.least = least
        self.most = most
        self.interspersed = interspersed
        self.failure_code = failure_code
        self._flags = flags

    def table(self) -> list[Flag]:
        """The rows, `--help` among them; a `--name` on two lines is a bug."""
        return read_table(f"{self._flags.rstrip()}\n{_HELP}")

    def name(self) -> str:
        """The verb with its noun: `volume rm`."""
        return " ".join(word for word in self.usage.split() if word.islower())

    def execute(self, context: Context, words: list[str]) -> int:
        """Parse and run. Raises Failure."""
        if words in (["--help"], ["-h"]) and ("-h," not in self._flags or words == ["--help"]):
            context.say(self.help())
            return 0
        try:
            values, arguments = Parser(self.table(), interspersed=self.interspersed).parse(words)
        except BadFlags as err:
            raise Failure(f"{err}\n\n{self._hint()}", err.code) from err
        if values.on("help"):
            context.say(self.help())
            return 0
        self._count(arguments)
        try:
            return self.run(context, values, arguments)
        except BadFlags as err:
            raise Failure(f"{err}\n\n{self._hint()}", err.code) from err

    def _count(self, arguments: list[str]) -> None:
        count = len(arguments)
        if count >= self.least and (self.most is None or count <= self.most):
            return
        wanted = "accepts no arguments"
        if self.most is None:
            wanted = f"requires at least {_plural(self.least)}"
        elif self.least == self.most != 0:
            wanted = f"requires {_plural(self.least)}"
        elif self.most:
            wanted = f"requires at least {self.least} and at most {_plural(self.most)}"
        raise Failure(f"hako: 'hako {self.name()}' {wanted}\n\n{self._hint()}")

    def _hint(self) -> str:
        return f"Usage:  hako {self.usage}\n\nRun 'hako {self.name()} --help' for more information"

    def help(self) -> str:
        """The page that --help shows."""
        about = "\n".join(line for part in self.about.strip().split("\n\n") for line in [*wrap(part, 90), ""])
        return f"Usage:  hako {self.usage}\n\n{about}\nOptions:\n{render(self.table())}"


def _plural(count: int) -> str:
    return f"{count} argument{'' if count == 1 else 's'}"


def each(
    context: Context, names: Sequence[str], act: Callable[[str], str | None], *, failed: str = ""
) -> int:
    """Do `act` for every name, several at once; print what it returns, in order. Returns the exit code.

    What fails is reported after the others are done, with a last line when `failed` names the verb; the exit
    code is then 1.
    """
    results = _together(names, act) if len(names) > 1 else [_attempt(names[0], act)]
    failures, missed = [], []
    for name, result in zip(names, results, strict=True):
        if isinstance(result, Failure):
            failures.append(str(result))
            missed.append(name)
        elif result is not None:
            context.say(result)
    if missed and failed:
        failures.append(f"Error: failed to {failed} containers: {', '.join(missed)}")
    context.warn(*failures)
    return 1 if failures else 0


def _attempt(name: str, act: Callable[[str], str | None]) -> str | Failure | None:
    try:
        return act(name)
    except Failure as err:
        return err


def _together(names: Sequence[str], act: Callable[[str], str | None]) -> Iterable[str | Failure | None]:
    from threading import Thread  # 5 ms that a single name need not pay

    results: dict[int, str | Failure | None] = {}

    def work(numbers: list[int]) -> None:
        for number in numbers:
            results[number] = _attempt(names[number], act)

    lanes = [list(range(start, len(names), 32)) for start in range(min(32, len(names)))]
    threads = [Thread(target=work, args=(lane,), daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(len(names))]
