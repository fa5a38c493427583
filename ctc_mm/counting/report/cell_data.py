"""The cells as the page's script takes them: column by column, rounded to what a reader sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ctc_mm.counting.records import CountedCell, SlideCount
from ctc_mm.counting.report.class_looks import ClassLook

SCORE_DIGITS = 3
# Corners of an outline on a thumbnail; more cannot be seen.
MOST_CORNERS = 48
# Columns of a route that decide its verdict, shown on every card.
HIGHLIGHTS = ("cep8_count", "cd45", "cnn_score")
JsonDict = dict[str, Any]


def choose_pictured(
    count: SlideCount, looks: Sequence[ClassLook], doubts: Sequence[float | None], most: int
) -> list[int]:
    """Places of the cells that get pictures of their own: the target, unidentified ones, then the others.

    Within each of the three the most doubtful come first.
    """
    rank = {one.name: min(one.rank, 2) for one in looks}

    def key(place: int) -> tuple[int, bool, float, int]:
        doubt = doubts[place]
        return rank[count.cells[place].class_name], doubt is None, doubt if doubt is not None else 0.0, place

    return sorted(range(len(count.cells)), key=key)[:most]


def cell_columns(
    count: SlideCount, doubts: Sequence[float | None], pictured: Sequence[int], explained: Sequence[int]
) -> JsonDict:
    """All cells, for the script.

    Args:
        count: the result.
        doubts: one a cell.
        pictured: places of cells with pictures, in the order of these.
        explained: the same for Grad-CAM.
    """
    cells, names = count.cells, {name: place for place, name in enumerate(count.classes)}
    flags = flag_counts(cells)
    of_flag = {name: place for place, name in enumerate(flags)}
    picture = {place: number for number, place in enumerate(pictured)}
    cam = {place: number for number, place in enumerate(explained)}
    return {
        "box": [_short(value, 1) for cell in cells for value in cell.box_xyxy],
        "cls": [names[cell.class_name] for cell in cells],
        "score": [_short(cell.score, 4) for cell in cells],
        "doubt": [_short(doubt, 4) for doubt in doubts],
        "diameter": [_short(cell.diameter_um, 2) for cell in cells],
        "flags": [[of_flag[flag] for flag in cell.flags] for cell in cells],
        "pic": [picture.get(place, -1) for place in range(len(cells))],
        "cam": [cam.get(place, -1) for place in range(len(cells))],
    }


def flag_counts(cells: Sequence[CountedCell]) -> dict[str, int]:
    """Cells by flag, flags in alphabetical order."""
    found = Counter(flag for cell in cells for flag in cell.flags)
    return {flag: found[flag] for flag in sorted(found)}


def route_columns(cells: Sequence[CountedCell]) -> list[JsonDict]:
    """What the route measured of each cell, by name; columns without any value are left out."""
    names = list(cells[0].columns) if cells else []
    columns = [{"name": name, "values": [_plain(cell.columns.get(name)) for cell in cells]} for name in names]
    return [one for one in columns if any(value is not None for value in one["values"])]


def orders_of(columns: Mapping[str, Any], routes: Sequence[Mapping[str, Any]]) -> list[JsonDict]:
    """What the gallery can be sorted by; the first is its order when the page opens."""
    orders = []
    if any(score is not None for score in columns["score"]):
        orders += [_order("score", "score, highest first"), _order("score", "score, lowest first", rising=True)]
        orders[1]["key"] = "score-rising"
    if any(doubt is not None for doubt in columns["doubt"]):
        orders.append(_order("doubt", "doubt, nearest to the threshold first", rising=True))
    if any(diameter is not None for diameter in columns["diameter"]):
        orders.append(_order("diameter", "diameter, largest first"))
    for place, one in enumerate(routes):
        if all(value is None or isinstance(value, int | float) for value in one["values"]):
            orders.append(_order(f"column-{place}", f"{one['name']}, highest first"))
    return [*orders, _order("position", "place on the slide")]


def _order(values: str, words: str, rising: bool = False) -> JsonDict:
    return {"key": values, "values": values, "words": words, "rising": rising}


def outlines_of(cells: Sequence[CountedCell], places: Sequence[int]) -> list[list[list[float]]]:
    """Outlines of some cells as flat lists of x, y; empty where only the box is known."""
    return [[_thinned(ring) for ring in cells[place].outlines_xy if len(ring) > 2] for place in places]


def _thinned(ring: Sequence[Sequence[float]]) -> list[float]:
    step = -(-len(ring) // MOST_CORNERS)
    return [_short(value, 1) for corner in ring[::step] for value in corner]


def _short(value: float | None, digits: int) -> float | None:
    if value is None:
        return None
    rounded = round(float(value), digits)
    return int(rounded) if rounded.is_integer() else rounded


def _plain(value: Any) -> Any:
    """A value of a route's column as JSON; what is no number is text, and NaN nothing."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return float(f"{value:.5g}") if np.isfinite(value) else None
    return value if value is None or isinstance(value, int) else str(value)
