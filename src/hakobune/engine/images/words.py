"""Words of Dockerfile instructions: quotes, `name=value` pairs, variables. Pure functions over texts."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hakobune.errors import InvalidArgument

_VARIABLE = re.compile(
    r"(?P<escaped>\\.)|(?P<quoted>'[^']*')"
    r"|\$(?:(?P<plain>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?::(?P<how>[-+])(?P<word>[^}]*))?\})",
    re.DOTALL,
)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """$NAME, ${NAME}, ${NAME:-else} and ${NAME:+instead}; not in single quotes, not after a backslash."""

    def value(match: re.Match[str]) -> str:
        if match["escaped"] or match["quoted"]:
            return match["escaped"][1] if match["escaped"] == r"\$" else match[0]
        found = variables.get(match["plain"] or match["braced"], "")
        if match["how"] == "-":
            return found or match["word"]
        if match["how"] == "+":
            return match["word"] if found else ""
        return found

    return _VARIABLE.sub(value, text)


def pairs(name: str, text: str) -> list[tuple[str, str]]:
    """`a=b c="d e"`, or the old form `a b c` for one. Raises InvalidArgument, naming the instruction."""
    found = split(name, text)
    if "=" not in found[0]:
        key, _, value = text.partition(" ")
        if not value.strip():
            raise InvalidArgument(f"{name} must have two arguments")
        return [(unquote(key), value.strip())]
    cut: list[tuple[str, str]] = []
    for word in found:
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidArgument(f"Syntax error - can't find = in {word!r}. Must be of the form: name=value")
        if not unquote(key):
            raise InvalidArgument(f"{name} names can not be blank")
        cut.append((unquote(key), unquote(value)))
    return cut


def split(name: str, text: str) -> list[str]:
    """At blanks outside of quotes, which stay. Raises InvalidArgument for a quote that does not end."""
    found, word, quote, at = [], "", "", 0
    while at < len(text):
        char = text[at]
        if char == "\\" and quote != "'" and at + 1 < len(text):
            word, at = word + text[at : at + 2], at + 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char.isspace():
            if word:
                found.append(word)
            word, at = "", at + 1
            continue
        word, at = word + char, at + 1
    if quote:
        raise InvalidArgument(f"{name}: unexpected end of statement while looking for matching {quote}-quote")
    return [*found, word] if word else found


def unquote(text: str) -> str:
    """Without quotes, and without the backslashes that escape."""
    out, quote, at = "", "", 0
    while at < len(text):
        char = text[at]
        if char == "\\" and quote != "'" and at + 1 < len(text):
            keep = quote == '"' and text[at + 1] not in '"\\$'
            out += text[at : at + 2] if keep else text[at + 1]
            at += 2
            continue
        if char == quote:
            quote = ""
        elif not quote and char in "\"'":
            quote = char
        else:
            out += char
        at += 1
    return out
