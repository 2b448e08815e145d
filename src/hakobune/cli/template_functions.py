"""The functions of `--format` templates, and how a value looks when it is printed."""

from __future__ import annotations

import json
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def truth(value: Any) -> bool:
    """What `if` thinks of it: zero, nothing and empty are false."""
    return bool(value) and type(value).__name__ != "Missing"


def show(value: Any) -> str:
    """As Go prints it: `map[a:1]`, `[x y]`, `true`, `<nil>`."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{show(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(show(item) for item in value) + "]"
    return str(value)


def to_json(value: Any) -> str:
    """Compact JSON, letters of all scripts as they are; in a listing's row `<`, `>` and `&` are escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if hasattr(value, "method"):
        text = text.replace('"<nil>"', "null")
        for sign in "<>&":
            text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key, "")
        elif value is None:
            raise ValueError("index of untyped nil")
        elif not isinstance(key, int) or not -1 < key < len(value):
            raise ValueError(f"index out of range: {show(key)}")
        else:
            value = value[key]
    return value


def _slice(value: Any, *ends: int) -> Any:
    return value[slice(*ends)] if len(ends) != 1 else value[ends[0] :]


def _and(*values: Any) -> Any:
    return next((value for value in values if not truth(value)), values[-1])


def _or(*values: Any) -> Any:
    return next((value for value in values if truth(value)), values[-1])


def _eq(first: Any, *others: Any) -> bool:
    return any(first == other for other in others)


def _printf(form: str, *values: Any) -> str:
    if "%" not in form:
        return form
    texts = iter(values)
    out, rest = "", form
    while rest:
        before, sign, rest = rest.partition("%")
        out += before
        if not sign:
            break
        size = next((n for n, letter in enumerate(rest) if letter.isalpha() or letter == "%"), len(rest) - 1)
        verb, options, rest = rest[size], rest[:size], rest[size + 1 :]
        out += "%" if verb == "%" else _verb(verb, options, next(texts, None))
    return out


def _verb(verb: str, options: str, value: Any) -> str:
    if verb == "q":
        return json.dumps(value, ensure_ascii=False)
    if verb in "dxXofeg":
        return str(f"%{options}{verb}" % value)
    return f"%{options}s" % show(value)


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


def _truncate(text: str, most: int) -> str:
    return text[:most]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": _and,
    "eq": _eq,
    "ge": lambda a, b: a >= b,
    "gt": lambda a, b: a > b,
    "index": _index,
    "join": lambda values, sep: sep.join(show(value) for value in values or []),
    "json": to_json,
    "le": lambda a, b: a <= b,
    "len": lambda value: len(value or ()),
    "lower": str.lower,
    "lt": lambda a, b: a < b,
    "ne": lambda a, b: a != b,
    "not": lambda value: not truth(value),
    "or": _or,
    "pad": _pad,
    "print": lambda *values: "".join(show(value) for value in values),
    "printf": _printf,
    "println": lambda *values: " ".join(show(value) for value in values) + "\n",
    "slice": _slice,
    "split": lambda text, sep: text.split(sep),
    "title": str.title,
    "truncate": _truncate,
    "upper": str.upper,
}
