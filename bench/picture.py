"""The figures as a picture: one group of bars per case, each group on a scale of its own; SVG written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

_COLORS = ("#1f6f8b", "#c98b2b", "#8a5a83", "#5a7d3a")
_LEFT, _WIDTH, _BAR, _GAP, _ALL = 300, 460, 15, 20, 860


def svg(
    title: str, subtitle: str, names: Mapping[str, str], groups: Sequence[tuple[str, Mapping[str, float]]]
) -> str:
    """`names`: legend by engine, in the order of the bars; `groups`: (label, figure by engine)."""
    color = {name: _COLORS[number % len(_COLORS)] for number, name in enumerate(names)}
    parts = [_text(20, 32, title, 'font-size="19" font-weight="700"'), _text(20, 52, subtitle, 'fill="#666"')]
    x, y = 20, 66
    for name, legend in names.items():
        parts += [_bar(x, y, 12, color[name], height=12), _text(x + 18, y + 11, legend)]
        x += 40 + 8 * len(legend)
    y += 34
    for label, figures in groups:
        most = max(figures.values(), default=0) or 1
        middle = y + (len(figures) * (_BAR + 3)) / 2 + 3
        parts.append(_text(_LEFT - 12, middle, label, 'text-anchor="end" font-weight="600"'))
        for name in (name for name in names if name in figures):
            width = max(2, round(_WIDTH * figures[name] / most))
            parts += [
                _bar(_LEFT, y, width, color[name]),
                _text(_LEFT + width + 6, y + 12, _short(figures[name])),
            ]
            y += _BAR + 3
        y += _GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_ALL} {y}" width="{_ALL}" height="{y}"'
    paper = f'<rect width="{_ALL}" height="{y}" fill="#fffdf8"/>'
    return "\n".join([f'{head} font-family="sans-serif" font-size="13">', paper, *parts, "</svg>", ""])


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _bar(x: float, y: float, width: float, color: str, *, height: int = _BAR) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height}" rx="2" fill="{color}"/>'


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" {more}>{escape(text)}</text>'
