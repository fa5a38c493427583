"""Small figures as SVG, which a page holds without a script and prints sharply."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from ctc_mm.counting.report.class_looks import ClassLook
from ctc_mm.counting.report.words import number

_AXIS, _GRID = "#8a929b", "#e9ecef"


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from ``low`` to ``high``."""
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / about))
    step = next(one * power for one in (1, 2, 5, 10) if (high - low) / (one * power) <= about)
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 10) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def text(x: float, y: float, words: str, anchor: str = "start", rest: str = "") -> str:
    """A line of text; names in it are escaped. With ``rest`` the words are strong and what follows is not."""
    strong = f'<tspan font-weight="600" fill="#1b1f23">{escape(words)}</tspan><tspan dx="8">{escape(rest)}</tspan>'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{strong if rest else escape(words)}</text>'


def title_text(x: float, y: float, words: str) -> str:
    """A line of strong text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="strong">{escape(words)}</text>'


def line(x0: float, y0: float, x1: float, y1: float, colour: str = _AXIS, more: str = "") -> str:
    """A straight line; ``more`` are attributes of ours."""
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}"{more}/>'


def figure(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """Put parts into one picture that scales with the page."""
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label={quoteattr(title)}>'
    return f"{head}{''.join(parts)}</svg>"


def size_histograms(size_um: Mapping[str, Any], looks: Sequence[ClassLook]) -> str | None:
    """Histograms of diameters, one row a class over one axis; None without a diameter.

    Args:
        size_um: of the count card.
        looks: of the classes, drawn in the order of their ranks.
    """
    edges = size_um["edges_um"]
    shown = [one for one in sorted(looks, key=lambda one: one.rank) if size_um["by_class"][one.name]["n"]]
    if not edges or not shown:
        return None
    width, left, row, top = 760.0, 46.0, 96.0, 30.0
    scale = (width - left - 16) / (edges[-1] - edges[0])
    bottom = row * len(shown)
    parts: list[str] = []
    for tick in ticks(edges[0], edges[-1], 10):
        x = left + (tick - edges[0]) * scale
        parts += [line(x, top - 4, x, bottom, _GRID), text(x, bottom + 18, number(tick), "middle")]
    parts.append(text(width - 16, bottom + 36, "diameter in µm", "end"))
    for place, one in enumerate(shown):
        base = (place + 1) * row
        parts += _histogram(size_um["by_class"][one.name], edges, one, (left, base, scale, row - top))
        parts.append(line(left, base, width - 16, base))
    return figure(width, bottom + 42, "Histograms of cell diameters by class", parts)


def _histogram(
    values: Mapping[str, Any], edges: Sequence[float], look: ClassLook, frame: tuple[float, float, float, float]
) -> list[str]:
    left, base, scale, height = frame
    most = max(values["histogram"])
    words = f"{number(values['n'])} measured, median {number(values['median_um'])} µm"
    if values["n"] > 1:
        words += f", middle half {number(values['q25_um'])} to {number(values['q75_um'])}"
    name_y = base - height - 8
    parts = [
        text(left, name_y, look.name, rest=words),
        text(left - 6, base - height + 8, number(most), "end"),
    ]
    for low, high, count in zip(edges, edges[1:], values["histogram"], strict=False):
        if count:
            tall = max(1.0, height * count / most)
            x, wide = left + (low - edges[0]) * scale, (high - low) * scale
            parts.append(
                f'<rect x="{x + 0.5:.1f}" y="{base - tall:.1f}" width="{max(1.0, wide - 1):.1f}" '
                f'height="{tall:.1f}" fill="{look.colour}"><title>{number(low)} to {number(high)} µm: '
                f"{number(count)}</title></rect>"
            )
    x = left + (values["median_um"] - edges[0]) * scale
    return [*parts, line(x, base - height - 3, x, base, "#1b1f23", ' stroke-dasharray="2 3"')]


@dataclass(frozen=True)
class CurveLine:
    """One curve of a plot over [0, 1] x [0, 1].

    Attributes:
        name: in the legend.
        xy: its points in order.
        colour: ``#rrggbb``.
        point_xy: where the threshold lies, if it does.
    """

    name: str
    xy: tuple[tuple[float, float], ...]
    colour: str
    point_xy: tuple[float, float] | None = None


def unit_plot(title: str, x_name: str, y_name: str, curves: Sequence[CurveLine], diagonal: bool = False) -> str:
    """Curves of rates, such as PR and ROC."""
    left, top, side = 52.0, 56.0, 330.0
    parts = [title_text(left, 18, title)]
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        x, y = left + tick * side, top + (1 - tick) * side
        parts += [line(x, top, x, top + side, _GRID), line(left, y, left + side, y, _GRID)]
        parts += [text(x, top + side + 18, f"{tick:g}", "middle"), text(left - 8, y + 4, f"{tick:g}", "end")]
    if diagonal:
        parts.append(line(left, top + side, left + side, top, _AXIS, ' stroke-dasharray="3 4"'))
    for one in curves:
        points = " ".join(f"{left + x * side:.1f},{top + (1 - y) * side:.1f}" for x, y in one.xy)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{one.colour}" stroke-width="2"/>')
        if one.point_xy is not None:
            x, y = left + one.point_xy[0] * side, top + (1 - one.point_xy[1]) * side
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" fill="{one.colour}" stroke="#fff" stroke-width="2"/>'
            )
    parts.append(text(left + side, top + side + 36, x_name, "end"))
    parts.append(text(left, top - 10, y_name))
    for place, one in enumerate(curves):
        y = top + side + 58 + 18 * place
        parts += [line(left, y - 4, left + 18, y - 4, one.colour, ' stroke-width="3"'), text(left + 26, y, one.name)]
    return figure(left + side + 58, top + side + 64 + 18 * len(curves), title, parts)
