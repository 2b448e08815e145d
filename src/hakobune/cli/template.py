"""`--format`: the part of Go's template language that people write after it.

Fields (`{{.State.Pid}}`), `range`, `if`, `with`, `else`, `end`, variables, pipelines, the usual functions
(`json`, `index`, `len`, `join`, `eq`, `printf`, …), `{{-` and `-}}`. Data is what `json.loads` returns.
Text is compiled once into a list of nodes and run per object. Raises Failure with the position's own text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .failure import Failure
from .template_functions import FUNCTIONS, show, truth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = " \t\r\n"
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'"}


class BadTemplate(Failure):
    """The text is no template, or the data has not what it asks for."""

    def __init__(self, message: str) -> None:
        super().__init__(f"template parsing error: {message}")


class Missing:
    """A key that the data does not have."""


MISSING = Missing()


class Template:
    """Compiled once: `render(data)` for each object. `strict` makes a missing key an error, not `<no value>`."""

    def __init__(self, text: str, *, strict: bool = False) -> None:
        self._strict = strict
        tokens = list(_split(text))
        self._nodes, ended = _Reader(tokens).block()
        if ended:
            raise BadTemplate(f"unexpected {{{{{ended}}}}}")

    def render(self, data: Any) -> str:
        """Raises BadTemplate."""
        out: list[str] = []
        _Run(data, out, self._strict).nodes(self._nodes, data)
        return "".join(out)


def _split(text: str) -> Iterator[tuple[bool, str]]:
    """(is an action, text) in order; trims where `{{-` and `-}}` say so."""
    trim = False
    while text:
        before, opened, text = text.partition("{{")
        if trim:
            before = before.lstrip(_SPACE)
        if not opened:
            yield False, before
            return
        action, closed, text = _until_close(text)
        if not closed:
            raise BadTemplate("template: :1: unclosed action")
        if action.startswith("- ") or action == "-":
            before, action = before.rstrip(_SPACE), action[1:]
        trim = action.endswith(" -")
        if trim:
            action = action[:-1]
        if before:
            yield False, before
        if not action.strip().startswith("/*"):
            yield True, action.strip()


def _until_close(text: str) -> tuple[str, bool, str]:
    """The action's text up to the `}}` that is in no string."""
    quoted = ""
    position = 0
    while position < len(text):
        sign = text[position]
        if quoted:
            if sign == "\\" and quoted == '"':
                position += 1
            elif sign == quoted:
                quoted = ""
        elif sign in '"`':
            quoted = sign
        elif text.startswith("}}", position):
            return text[:position], True, text[position + 2 :]
        position += 1
    return text, False, ""


def _words(action: str) -> list[str]:
    """Take an action apart: names, paths, strings, numbers and ( ) | := , each as one word."""
    words: list[str] = []
    position = 0
    while position < len(action):
        sign = action[position]
        if sign in _SPACE:
            position += 1
        elif sign in "()|,=":
            words.append(sign)
            position += 1
            if sign == ")" and action[position : position + 1] == ".":
                words.append("->")
        elif action.startswith(":=", position):
            words.append(":=")
            position += 2
        else:
            end = _word_end(action, position)
            words.append(action[position:end])
            position = end
    return words


def _word_end(action: str, start: int) -> int:
    sign = action[start]
    if sign in '"`':
        position = start + 1
        while position < len(action) and action[position] != sign:
            position += 2 if action[position] == "\\" and sign == '"' else 1
        if position >= len(action):
            raise BadTemplate("unterminated quoted string")
        return position + 1
    position = start
    while position < len(action) and action[position] not in _SPACE + "()|,=" + '"`':
        if action.startswith(":=", position):
            break
        position += 1
    return position


class _Reader:
    """Tokens to nodes. A node is a tuple whose first item names it."""

    def __init__(self, tokens: list[tuple[bool, str]]) -> None:
        self._tokens = tokens
        self._at = 0

    def block(self) -> tuple[list[Any], str]:
        """(nodes, the word that ended the block: "", "end" or "else …")."""
        nodes: list[Any] = []
        while self._at < len(self._tokens):
            action, text = self._tokens[self._at]
            self._at += 1
            if not action:
                nodes.append(("text", text))
                continue
            word = text.split(None, 1)[0] if text else ""
            if word in ("end", "else"):
                return nodes, text
            if word in ("if", "range", "with"):
                nodes.append(self._control(word, text[len(word) :]))
            elif word in ("template", "define", "block", "break", "continue"):
                raise BadTemplate(f"{{{{{word}}}}} is not supported")
            else:
                nodes.append(("action", *_assignment(_words(text))))
        return nodes, ""

    def _control(self, word: str, rest: str) -> Any:
        names, pipe = _assignment(_words(rest))
        body, ended = self.block()
        other: list[Any] = []
        if ended.startswith("else"):
            more = ended[4:].strip()
            if more.startswith(("if", "with")):
                kind = more.split(None, 1)[0]
                other = [self._control(kind, more[len(kind) :])]
                return (word, names, pipe, body, other)
            other, ended = self.block()
        if ended != "end":
            raise BadTemplate(f"{{{{{word}}}}} has no {{{{end}}}}")
        return (word, names, pipe, body, other)


def _assignment(words: list[str]) -> tuple[list[str], list[str]]:
    """(variables to set, pipeline)."""
    for sign in (":=", "="):
        if sign in words:
            at = words.index(sign)
            return [word for word in words[:at] if word != ","], words[at + 1 :]
    return [], words


class _Run:
    """One rendering: the root, the variables, the output."""

    def __init__(self, root: Any, out: list[str], strict: bool) -> None:
        self._root = root
        self._out = out
        self._strict = strict
        self._variables: dict[str, Any] = {"$": root}
        self._controls: dict[str, Callable[[Any, Any], None]] = {
            "action": self._action,
            "if": self._if,
            "with": self._with,
            "range": self._range,
        }

    def nodes(self, nodes: list[Any], dot: Any) -> None:
        """Run a block with `dot` as `.`."""
        for node in nodes:
            if node[0] == "text":
                self._out.append(node[1])
            else:
                self._controls[node[0]](node, dot)

    def _action(self, node: Any, dot: Any) -> None:
        _, names, words = node
        value = self._pipeline(words, dot)
        if names:
            self._variables[names[0]] = value
        else:
            self._out.append("<no value>" if value is MISSING else show(value))

    def _if(self, node: Any, dot: Any) -> None:
        _, names, words, body, other = node
        value = self._set(names, self._pipeline(words, dot))
        self.nodes(body if truth(value) else other, dot)

    def _with(self, node: Any, dot: Any) -> None:
        _, names, words, body, other = node
        value = self._set(names, self._pipeline(words, dot))
        if truth(value):
            self.nodes(body, value)
        else:
            self.nodes(other, dot)

    def _range(self, node: Any, dot: Any) -> None:
        _, names, words, body, other = node
        pairs = _pairs(self._pipeline(words, dot))
        for key, value in pairs:
            self._set(names[-1:], value)
            if len(names) > 1:
                self._set(names[:1], key)
            self.nodes(body, value)
        if not pairs:
            self.nodes(other, dot)

    def _set(self, names: list[str], value: Any) -> Any:
        for name in names:
            self._variables[name] = value
        return value

    def _pipeline(self, words: list[str], dot: Any) -> Any:
        if not words:
            raise BadTemplate("missing value for command")
        value: Any = None
        for number, command in enumerate(_commands(words)):
            value = self._command(command, dot, () if number == 0 else (value,))
        return value

    def _command(self, words: list[str], dot: Any, last: tuple[Any, ...]) -> Any:
        if not words:
            raise BadTemplate("missing value for command")
        function = FUNCTIONS.get(words[0])
        if function is None:
            values = [*self._operands(words, dot), *last]
            if callable(values[0]):
                return values[0](*values[1:])
            if len(values) > 1:
                raise BadTemplate(f"{words[0]} is no function")
            return values[0]
        arguments = [
            None if value is MISSING else value for value in (*self._operands(words[1:], dot), *last)
        ]
        try:
            return function(*arguments)
        except (TypeError, ValueError, LookupError, AttributeError) as err:
            raise BadTemplate(f"error calling {words[0]}: {err}") from err

    def _operands(self, words: list[str], dot: Any) -> list[Any]:
        values: list[Any] = []
        position = 0
        while position < len(words):
            word = words[position]
            if word == "(":
                end = _closing(words, position)
                values.append(self._pipeline(words[position + 1 : end], dot))
                position = end
            elif word == "->":
                position += 1
                values[-1] = self._path(values[-1], words[position])
            else:
                values.append(self._operand(word, dot))
            position += 1
        return values

    def _operand(self, word: str, dot: Any) -> Any:
        if word == ".":
            return dot
        if word.startswith("."):
            return self._path(dot, word)
        if word.startswith("$"):
            name, _, path = word.partition(".")
            if name not in self._variables:
                raise BadTemplate(f'undefined variable "{name}"')
            return self._path(self._variables[name], f".{path}") if path else self._variables[name]
        if word[0] in '"`':
            return _string(word)
        if word in ("true", "false", "nil"):
            return {"true": True, "false": False, "nil": None}[word]
        if word in FUNCTIONS:
            return FUNCTIONS[word]()
        return _number(word)

    def _path(self, value: Any, path: str) -> Any:
        for name in path.split(".")[1:]:
            value = self._field(value, name, path)
        return value

    def _field(self, value: Any, name: str, path: str) -> Any:
        if isinstance(value, dict):
            if name in value:
                return value[name]
            method = getattr(value, "method", None)
            if method is not None and (found := method(name)) is not None:
                return found
            if self._strict:
                raise BadTemplate(
                    f'template: :1:2: executing "" at <{path}>: map has no entry for key "{name}"'
                )
            return MISSING
        if value is None or value is MISSING:
            if self._strict:
                raise BadTemplate(f'template: :1:2: executing "" at <{path}>: nil pointer evaluating .{name}')
            return MISSING
        raise BadTemplate(f"can't evaluate field {name} in {path}")


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, list | str):
        return list(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return [(number, number) for number in range(value)]
    if value is None or value is MISSING:
        return []
    raise BadTemplate(f"range can't iterate over {show(value)}")


def _commands(words: list[str]) -> list[list[str]]:
    """Split at the `|` that stand outside of parentheses."""
    found: list[list[str]] = [[]]
    depth = 0
    for word in words:
        depth += (word == "(") - (word == ")")
        if word == "|" and depth == 0:
            found.append([])
        else:
            found[-1].append(word)
    return found


def _closing(words: list[str], start: int) -> int:
    depth = 0
    for position in range(start, len(words)):
        depth += (words[position] == "(") - (words[position] == ")")
        if depth == 0:
            return position
    raise BadTemplate("unclosed left paren")


def _string(word: str) -> str:
    if word[0] == "`":
        return word[1:-1]
    signs = iter(word[1:-1])
    return "".join(sign if sign != "\\" else _ESCAPES.get(next(signs, "\\"), "\\") for sign in signs)


def _number(word: str) -> int | float:
    try:
        return int(word, 0)
    except ValueError:
        try:
            return float(word)
        except ValueError:
            raise BadTemplate(f'function "{word}" not defined') from None
