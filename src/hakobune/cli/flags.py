"""Flags the way people's hands know them from Docker: a table of help text that is also the parser.

One line per flag, so that help and behaviour cannot drift apart:

    -e, --env list        Set a variable inside (NAME=VALUE, or NAME to take ours)
    -d, --detach          Run in the background and print the container's id

The word after the name is the kind; a flag without one is a switch. Understood on the command line:
`--name=x`, `--name x`, `-n x`, `-nx`, `-n=x`, clusters (`-dit`, `-eA=b` at their end), `--switch=false` and
`--`. Imports nothing but what every command loads.
"""

from __future__ import annotations

from .failure import Failure
from .units import parse_bytes, parse_duration

_REPEATED = frozenset(("list", "map", "mount", "filter", "ulimit", "network"))
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))
_WRAP = 78


class BadFlags(Failure):
    """The command line is not understood. Exit code 125, as `docker` has it for every verb."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 125)


class Flag:
    """One row: long and short name, kind ("" for a switch) and the sentence for people."""

    __slots__ = ("about", "kind", "name", "short")

    def __init__(self, name: str, short: str, kind: str, about: str) -> None:
        self.name = name
        self.short = short
        self.kind = kind
        self.about = about

    @property
    def spelling(self) -> str:
        """As error messages name it: `-m, --memory`."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    def check(self, text: str) -> str:
        """Return the value as it will be kept. Raises BadFlags when its kind does not take it."""
        try:
            _CHECKS.get(self.kind, str)(text)
        except (ValueError, ArithmeticError) as err:
            raise BadFlags(f'invalid argument "{text}" for "{self.spelling}" flag: {err}') from err
        return text


def _switch(text: str) -> bool:
    if text not in _TRUE and text not in _FALSE:
        raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
    return text in _TRUE


def _whole(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError as err:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax') from err


def _decimal(text: str) -> int:
    """Billionths, which is how Docker's API counts CPUs."""
    try:
        value = float(text)
    except ValueError as err:
        raise ValueError(f"failed to parse {text} as a rational number") from err
    return round(value * 1_000_000_000)


def _size(text: str) -> int:
    return -1 if text == "-1" else parse_bytes(text)


_CHECKS = {"": _switch, "int": _whole, "decimal": _decimal, "bytes": _size, "duration": parse_duration}


class Values:
    """What was given; each accessor decodes one kind and answers its zero when the flag is absent."""

    def __init__(self) -> None:
        self._given: dict[str, list[str]] = {}

    def add(self, flag: Flag, text: str) -> None:
        """Keep one more value; only repeated kinds keep the earlier ones."""
        checked = flag.check(text)
        if flag.kind in _REPEATED:
            self._given.setdefault(flag.name, []).append(checked)
        else:
            self._given[flag.name] = [checked]

    def given(self, name: str) -> bool:
        """Whether the flag stands on the command line."""
        return name in self._given

    def on(self, name: str, default: bool = False) -> bool:
        """A switch."""
        return self._given[name][-1] in _TRUE if name in self._given else default

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        return self._given[name][-1] if name in self._given else default

    def many(self, name: str) -> list[str]:
        """Every value of a repeated flag, in order."""
        return list(self._given.get(name, ()))

    def whole(self, name: str, default: int = 0) -> int:
        """An integer."""
        return _whole(self._given[name][-1]) if name in self._given else default

    def size(self, name: str) -> int:
        """Bytes; -1 stays -1."""
        return _size(self._given[name][-1]) if name in self._given else 0

    def billionths(self, name: str) -> int:
        """A decimal number, times 10**9."""
        return _decimal(self._given[name][-1]) if name in self._given else 0

    def nanoseconds(self, name: str) -> int:
        """A duration such as `1m30s`."""
        return parse_duration(self._given[name][-1]) if name in self._given else 0

    def pairs(self, name: str) -> dict[str, str]:
        """A repeated KEY=VALUE flag as a dictionary; a key alone has the value ""."""
        return {key: value for key, _, value in (item.partition("=") for item in self.many(name))}


def read_table(text: str) -> list[Flag]:
    """The rows of a table; raises ValueError for a line that is none (a bug of ours)."""
    flags = []
    for line in text.strip().splitlines():
        names, _, about = line.strip().partition("  ")
        words = names.replace(",", "").split()
        short = words.pop(0)[1:] if not words[0].startswith("--") else ""
        if not words or not words[0].startswith("--") or not about:
            raise ValueError(f"not a row of a flag table: {line!r}")
        flags.append(Flag(words[0][2:], short, words[1] if len(words) > 1 else "", about.strip()))
    return flags


class Parser:
    """Takes a command line apart by a table; `interspersed` allows flags after the first argument."""

    def __init__(self, table: list[Flag], *, interspersed: bool = True) -> None:
        self._long = {flag.name: flag for flag in table}
        self._short = {flag.short: flag for flag in table if flag.short}
        self._interspersed = interspersed

    def parse(self, words: list[str]) -> tuple[Values, list[str]]:
        """(flags, arguments). Raises BadFlags."""
        arguments: list[str] = []
        values, rest = Values(), list(words)
        while rest:
            word = rest.pop(0)
            if word == "--":
                return values, arguments + rest
            if word.startswith("--"):
                self._take_long(word, rest, values)
            elif word.startswith("-") and word != "-":
                self._take_short(word, rest, values)
            elif self._interspersed:
                arguments.append(word)
            else:
                return values, [word, *rest]
        return values, arguments

    def _take_long(self, word: str, rest: list[str], values: Values) -> None:
        name, equals, value = word[2:].partition("=")
        flag = self._long.get(name)
        if flag is None:
            raise BadFlags(f"unknown flag: --{name}" if name else f"bad flag syntax: {word}")
        if not equals:
            if flag.kind == "":
                value = "true"
            elif rest:
                value = rest.pop(0)
            else:
                raise BadFlags(f"flag needs an argument: --{name}")
        values.add(flag, value)

    def _take_short(self, word: str, rest: list[str], values: Values) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = self._short.get(letter)
            if flag is None:
                raise BadFlags(f"unknown shorthand flag: {letter!r} in {word}")
            if letters.startswith("="):
                values.add(flag, letters[1:])
                return
            if flag.kind == "":
                values.add(flag, "true")
            elif letters or rest:
                values.add(flag, letters or rest.pop(0))
                return
            else:
                raise BadFlags(f"flag needs an argument: {letter!r} in {word}")


def render(table: list[Flag]) -> str:
    """The rows as `--help` shows them: aligned, wrapped, sorted by long name."""
    left = []
    for flag in table:
        short = f"-{flag.short}, " if flag.short else "    "
        left.append(f"  {short}--{flag.name}{' ' + flag.kind if flag.kind else ''}")
    width = min(max((len(text) for text in left), default=0), 36) + 3
    lines = []
    for text, flag in sorted(zip(left, table, strict=True), key=lambda pair: pair[1].name):
        first, *more = wrap(flag.about, max(_WRAP - width, 30))
        lines.append(f"{text:<{width}}{first}")
        lines += [" " * width + line for line in more]
    return "\n".join(lines)


def wrap(text: str, width: int) -> list[str]:
    """Break a sentence into lines of at most `width` characters (longer words stand alone)."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
    return [*lines, line]
