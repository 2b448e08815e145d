"""Command lines in the manner of runc: flags of the program, a verb, its flags, its operands.

A table instead of argparse, whose import alone takes longer than the rest of a `state`. Imports: errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hakobune.errors import InvalidArgument

SWITCH, VALUE, MANY = "switch", "value", "many"
# flags that are passed on to CRIU under their own names
CRIU_SWITCHES = ("tcp-established", "shell-job", "ext-unix-sk", "file-locks", "link-remap", "auto-dedup")
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
Flags = Mapping[str, str]  # long name -> kind; `short` maps one letter to a long name


class Arguments:
    """What was found: flags by long name, and the operands."""

    def __init__(self, flags: Flags) -> None:
        self._values: dict[str, list[str]] = {name: [] for name in flags}
        self.operands: list[str] = []

    def add(self, name: str, value: str) -> None:
        """One more value of a flag."""
        self._values[name].append(value)

    def on(self, name: str) -> bool:
        """Whether a switch was given, and not as `=false`."""
        return bool(self._values[name]) and self._values[name][-1] not in ("false", "0")

    def text(self, name: str, default: str = "") -> str:
        """The last value of a flag."""
        return self._values[name][-1] if self._values[name] else default

    def number(self, name: str) -> int | None:
        """The last value as an integer; None when absent. Raises InvalidArgument."""
        text = self.text(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError as err:
            raise InvalidArgument(f"--{name}: {text!r} is not a number") from err

    def size(self, name: str) -> int | None:
        """The last value as a number of bytes: 64, 64k, 64M, 1g, 64MiB, -1. Raises InvalidArgument."""
        text = self.text(name).lower().removesuffix("b").removesuffix("i")
        if not text:
            return None
        unit = _UNITS.get(text[-1], 1)
        digits = text[:-1] if unit > 1 else text
        if not digits.removeprefix("-").isdecimal():
            raise InvalidArgument(f"--{name}: {self.text(name)!r} is not a number of bytes")
        return int(digits) * unit

    def seconds(self, name: str, default: float) -> float:
        """The last value as a duration: 5s, 500ms, 1m30s, 2. Raises InvalidArgument."""
        text = rest = self.text(name)
        total = 0.0
        while rest:
            digits = rest[
                : next((at for at, letter in enumerate(rest) if letter not in "0123456789."), len(rest))
            ]
            rest = rest[len(digits) :]
            unit = next((unit for unit in ("ms", "h", "m", "s") if rest.startswith(unit)), "")
            rest = rest[len(unit) :]
            if not digits.replace(".", "", 1).isdecimal() or (not unit and rest):
                raise InvalidArgument(f"--{name}: {text!r} is not a duration")
            total += float(digits) * _SECONDS[unit]
        return total if text else default

    def many(self, name: str) -> list[str]:
        """All values of a flag."""
        return self._values[name]

    def operand(self, index: int, what: str) -> str:
        """Raises InvalidArgument when it is missing."""
        if len(self.operands) <= index:
            raise InvalidArgument(f"{what} is required")
        return self.operands[index]


def parse(
    words: Sequence[str], flags: Flags, short: Mapping[str, str], *, interspersed: bool = False
) -> Arguments:
    """Read flags up to the first operand; the rest are operands. With `interspersed` flags may follow too.

    Raises InvalidArgument for an unknown flag or a missing value.
    """
    found = Arguments(flags)
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--" or not word.startswith("-") or word == "-":
            if word != "--":
                found.operands.append(word)
            if interspersed and word != "--":
                continue
            found.operands += rest
            break
        name, equals, value = word.lstrip("-").partition("=")
        name = short.get(name, name)
        kind = flags.get(name)
        if kind is None:
            raise InvalidArgument(f"flag provided but not defined: {word}")
        if kind != SWITCH and not equals:
            if not rest:
                raise InvalidArgument(f"flag needs an argument: {word}")
            value = rest.pop(0)
        found.add(name, value if equals or kind != SWITCH else "true")
    return found
