"""The charts in docs/benchmarks/: what people would rather see than read."""

import math
from collections.abc import Sequence
from html import escape

from benchmarks.clock import Timing
from console.config import ROOT

DIRECTORY = ROOT / "docs" / "benchmarks"

_COLOURS = {"console": "#2a5bd7", "Flask-Admin": "#8a8f98", "Django admin": "#4d525b", "floor": "#c9ccd1"}
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 130, 110, 56, 40
_LINES_HEIGHT = 380
_BAR, _GAP = 28, 14
_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
    ' font-family="system-ui, sans-serif" font-size="13" fill="#1d2025" aria-label="{title}">\n'
    '<rect width="100%" height="100%" fill="#fff"/>\n'
    '<text x="16" y="28" font-size="16" font-weight="600">{title}</text>\n'
)
_TEXT = '<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{text}</text>\n'
_RECT = '<rect x="{x:.0f}" y="{y:.0f}" width="{width:.1f}" height="{height}" rx="2" fill="{colour}"/>\n'
_LINE = '<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>\n'


def draw(sizes: Sequence[int], timings: dict[str, Timing]) -> None:
    """Write both charts."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    middle = sizes[1] if len(sizes) > 1 else sizes[0]
    bars = {name: timings[f"{name} at {middle:,}"].cpu_ms for name in list(_COLOURS)[:3]}
    bars["floor"] = timings["floor"].cpu_ms
    title = f"Page of 50 with badges, {middle:,} conversations: ms of CPU"
    (DIRECTORY / "comparison.svg").write_text(_bars(title, bars))
    curves = {name: [timings[f"{name} at {size:,}"].cpu_ms for size in sizes] for name in list(_COLOURS)[:3]}
    (DIRECTORY / "growth.svg").write_text(
        _curves("The same page as the data grows: ms of CPU", sizes, curves)
    )


def _bars(title: str, bars: dict[str, float]) -> str:
    scale = (_WIDTH - _LEFT - _RIGHT) / max(bars.values())
    height = _TOP + len(bars) * (_BAR + _GAP) + 8
    parts = [_HEAD.format(width=_WIDTH, height=height, title=escape(title))]
    for place, (name, figure) in enumerate(bars.items()):
        y = _TOP + place * (_BAR + _GAP)
        parts.append(_TEXT.format(x=_LEFT - 10, y=y + _BAR * 0.66, anchor="end", text=escape(name)))
        parts.append(_RECT.format(x=_LEFT, y=y, width=figure * scale, height=_BAR, colour=_COLOURS[name]))
        x = _LEFT + figure * scale + 8
        parts.append(_TEXT.format(x=x, y=y + _BAR * 0.66, anchor="start", text=f"{figure:.1f}"))
    return "".join([*parts, "</svg>\n"])


def _curves(title: str, sizes: Sequence[int], curves: dict[str, list[float]]) -> str:
    """Draw figures over sizes, both on logarithmic scales."""
    figures = [figure for curve in curves.values() for figure in curve]
    low, high = math.floor(math.log10(min(figures))), math.ceil(math.log10(max(figures)))
    first, last = math.log10(sizes[0]), math.log10(sizes[-1])

    def x(size: int) -> float:
        return _LEFT + (math.log10(size) - first) / ((last - first) or 1) * (_WIDTH - _LEFT - _RIGHT)

    def y(figure: float) -> float:
        share = (math.log10(figure) - low) / ((high - low) or 1)
        return _LINES_HEIGHT - _BOTTOM - share * (_LINES_HEIGHT - _TOP - _BOTTOM)

    parts = [_HEAD.format(width=_WIDTH, height=_LINES_HEIGHT, title=escape(title))]
    for power in range(low, high + 1):
        points = f"{_LEFT},{y(10**power):.0f} {_WIDTH - _RIGHT},{y(10**power):.0f}"
        parts.append(_LINE.format(points=points, colour="#e4e6ea", width=1))
        parts.append(_TEXT.format(x=_LEFT - 10, y=y(10**power) + 4, anchor="end", text=f"{10**power:g} ms"))
    for size in sizes:
        parts.append(_TEXT.format(x=x(size), y=_LINES_HEIGHT - 14, anchor="middle", text=f"{size:,}"))
    for name, curve in curves.items():
        points = " ".join(f"{x(size):.0f},{y(figure):.0f}" for size, figure in zip(sizes, curve, strict=True))
        parts.append(_LINE.format(points=points, colour=_COLOURS[name], width=2.5))
        end = _TEXT.format(x=x(sizes[-1]) + 8, y=y(curve[-1]) + 4, anchor="start", text=escape(name))
        parts.append(end)
    return "".join([*parts, "</svg>\n"])
