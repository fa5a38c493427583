"""How large the cells of each class are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ctc_mm.counting.records import CountedCell

BIN_WIDTHS_UM = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
MOST_BINS = 60
QUANTILES = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1.0}


def size_distribution(cells: Sequence[CountedCell], classes: Sequence[str]) -> dict[str, Any]:
    """Diameters in um by class: number, mean, SD (n - 1), quartiles, and a histogram on edges that all classes share.

    Args:
        cells: of a slide or of several.
        classes: in the order wanted; those without a cell are there too.

    Returns:
        ``edges_um`` (one more than bins; empty without a diameter; whole bins of the narrowest of 1, 2, 5 ... um that
        needs at most 60) and ``by_class``: ``n``, ``n_unknown`` (cells without a diameter), ``mean_um``, ``sd_um``,
        ``min_um``, ``q25_um``, ``median_um``, ``q75_um``, ``max_um`` (null where undefined) and ``histogram``.

    Raises:
        ValueError: a cell of a class that is not in ``classes``, a diameter that is not a finite number above 0.
    """
    diameters: dict[str, list[float]] = {name: [] for name in classes}
    unknown = dict.fromkeys(classes, 0)
    for cell in cells:
        if cell.class_name not in diameters:
            raise ValueError(f"`classes` {list(classes)} lack {cell.class_name!r}, the class of a cell")
        if cell.diameter_um is None:
            unknown[cell.class_name] += 1
        elif not (math.isfinite(cell.diameter_um) and cell.diameter_um > 0):
            raise ValueError(f"`diameter_um` must be a finite number above 0. Received: {cell.diameter_um!r}")
        else:
            diameters[cell.class_name].append(float(cell.diameter_um))
    edges = _edges([value for values in diameters.values() for value in values])
    return {
        "edges_um": edges,
        "by_class": {name: _summary(values, unknown[name], edges) for name, values in diameters.items()},
    }


def _edges(values: Sequence[float]) -> list[float]:
    if not values:
        return []
    for width in BIN_WIDTHS_UM:
        first, last = math.floor(min(values) / width), math.floor(max(values) / width) + 1
        if last - first <= MOST_BINS:
            return [place * width for place in range(first, last + 1)]
    return np.linspace(min(values), np.nextafter(max(values), math.inf), MOST_BINS + 1).tolist()


def _summary(values: Sequence[float], n_unknown: int, edges: Sequence[float]) -> dict[str, Any]:
    array = np.sort(np.array(values, np.float64))
    found = {f"{name}_um": float(np.quantile(array, share)) if values else None for name, share in QUANTILES.items()}
    return {
        "n": len(values),
        "n_unknown": n_unknown,
        "mean_um": float(array.mean()) if values else None,
        "sd_um": float(array.std(ddof=1)) if len(values) > 1 else None,
        **found,
        "histogram": np.histogram(array, edges)[0].tolist() if edges else [],
    }
