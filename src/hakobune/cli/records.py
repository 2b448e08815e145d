"""Lists of things: one set of rows, shown as a table, as JSON lines, as ids alone or through a template.

A row is a dictionary of texts whose keys are the names that `--format` knows; a listing says which of them
are the columns. This is where `ps`, `images`, `volume ls` and the like meet.
"""

from __future__ import annotations

from .columns import align
from .command import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from .template import Template

Row = dict[str, str]


def show(
    context: Context, rows: Sequence[Row], *, headers: dict[str, str], columns: Iterable[str], form: str
) -> None:
    """Print the rows. `headers` names each key's heading; `form` is the text of --format ("": a table)."""
    if form in ("", "table"):
        cells = [[headers[key] for key in columns], *[[row[key] for key in columns] for row in rows]]
        context.say(*align(cells))
    elif form == "json":
        context.say(*[_json(_Record(row)) for row in rows])
    elif form.startswith("table "):
        _show_table(context, rows, headers, _unescape(form[6:].lstrip()))
    else:
        template = _template(_unescape(form), strict=True)
        context.say(*[template.render(_Record(row)) for row in rows])


def _template(text: str, *, strict: bool) -> Template:
    """Compiled; the language is loaded with the first --format, for a plain table it would be 3 ms."""
    from .template import Template

    return Template(text, strict=strict)


def _json(value: Any) -> str:
    from .template_functions import to_json

    return to_json(value)


class _Record(dict[str, str]):
    """A row for a template: beside its fields it answers `{{.Label "key"}}`."""

    def method(self, name: str) -> Callable[[str], str] | None:
        """The function behind a name that is no field."""
        return self._label if name == "Label" and "Labels" in self else None

    def _label(self, wanted: str) -> str:
        pairs = (text.partition("=") for text in self["Labels"].split(","))
        return next((value for key, _, value in pairs if key == wanted), "")


def _show_table(context: Context, rows: Sequence[Row], headers: dict[str, str], form: str) -> None:
    template = _template(form, strict=True)
    heading = _template(form, strict=False).render(_Headings(headers))
    lines = [heading, *[template.render(_Record(row)) for row in rows]]
    context.say(*align([line.split("\t") for line in lines]))


class _Headings(dict[str, str]):
    """The heading of every field; a label's heading is its key."""

    def method(self, name: str) -> Callable[[str], str] | None:
        """The function behind a name that is no field."""
        return str if name == "Label" else None


def _unescape(text: str) -> str:
    """`\\t` and `\\n` in a shell's quotes mean a tab and a line's end."""
    return text.replace("\\t", "\t").replace("\\n", "\n")


def each_document(context: Context, documents: Iterable[object], form: str) -> None:
    """Print whole documents through a template, one line each."""
    if form == "json":
        context.say(*[_json(document) for document in documents])
        return
    template = _template(_unescape(form), strict=True)
    context.say(*[template.render(document) for document in documents])
