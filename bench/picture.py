"""The figures as a picture: one row of bars for each case, in SVG, written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_COLORS = ("#1f6f8b", "#c98b2b", "#8a5a83", "#5a7d3a")
_LEFT, _WIDTH, _BAR, _GAP = 250, 460, 16, 22


def svg(title: str, rows: Sequence[tuple[str, Mapping[str, float], str]]) -> str:
    """`rows` are (label, figure by engine, unit); each row has a scale of its own."""
    engines = list(dict.fromkeys(name for _label, figures, _unit in rows for name in figures))
    y, parts = 60, []
    for label, figures, unit in rows:
        most = max(figures.values(), default=0) or 1
        parts.append(
            f'<text x="{_LEFT - 12}" y="{y + 13}" text-anchor="end" font-weight="600">{label}</text>'
        )
        for name in engines:
            if name not in figures:
                continue
            value = figures[name]
            width = max(2, round(_WIDTH * value / most))
            color = _COLORS[engines.index(name) % len(_COLORS)]
            parts.append(f'<rect x="{_LEFT}" y="{y}" width="{width}" height="{_BAR}" rx="2" fill="{color}"/>')
            parts.append(f'<text x="{_LEFT + width + 6}" y="{y + 13}">{name} {value:g} {unit}</text>')
            y += _BAR + 3
        y += _GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="960" height="{y + 10}" font-family="sans-serif" font-size="13">'
    return "\n".join(
        [head, f'<rect width="960" height="{y + 10}" fill="#fffdf8"/>',
         f'<text x="20" y="32" font-size="18" font-weight="700">{title}</text>', *parts, "</svg>\n"]
    )  # fmt: skip
