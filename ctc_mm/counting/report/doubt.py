"""How near a cell's verdict is to tipping: what a reader should look at first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctc_mm.counting.records import UNIDENTIFIED, CountedCell, SlideCount
from ctc_mm.counting.setting_checks import is_number

# Names under which routes record one threshold for all classes.
SHARED_KEYS = ("probability_calibrated", "score", "score_threshold", "threshold")


def doubts_of(count: SlideCount) -> list[float | None]:
    """Distance of each cell from its threshold, small where it is doubtful; None where there is none to compare with.

    With a score it is the distance of the score from the threshold of the cell's class (of the target for
    ``unidentified`` cells). Where the imFISH rule decides it is how far the measurements are from another verdict, as a
    share of the limits: for a CTC the nearest limit, for another nucleus the farthest of those it fails.
    """
    thresholds = score_thresholds(count)
    limits = _rule_limits(count.thresholds)
    return [_doubt(cell, count.target, thresholds, limits) for cell in count.cells]


def score_thresholds(count: SlideCount) -> dict[str, float]:
    """Score from which a cell is of a class, by class; of a classifier the target's for all."""
    for given in (*count.thresholds.values(), (count.model or {}).get("thresholds")):
        if isinstance(given, Mapping) and is_number(given.get(count.target)):
            return {name: float(given[name]) for name in count.classes if is_number(given.get(name))}
    shared = next((count.thresholds[key] for key in SHARED_KEYS if is_number(count.thresholds.get(key))), None)
    return {} if shared is None else dict.fromkeys(count.classes, float(shared))


def _doubt(
    cell: CountedCell, target: str, thresholds: Mapping[str, float], limits: tuple[float, float] | None
) -> float | None:
    if cell.score is not None:
        threshold = thresholds.get(target if cell.class_name == UNIDENTIFIED else cell.class_name)
        return None if threshold is None else abs(cell.score - threshold)
    signals, cd45 = cell.columns.get("cep8_count"), cell.columns.get("cd45")
    if limits is None or signals is None or cell.class_name == UNIDENTIFIED:
        return None
    # Above 0: on the CTC's side of the limit. Signals are whole, so the limit lies half a signal below the least.
    margins = [(signals - limits[0] + 0.5) / limits[0]]
    if cd45 is not None and limits[1] > 0:
        margins.append((limits[1] - cd45) / limits[1])
    return abs(min(margins))


def _rule_limits(thresholds: Mapping[str, Any]) -> tuple[float, float] | None:
    """Least signals of a CTC and limit of its CD45 (0 where it does not count), of the imFISH rule."""
    rule = thresholds.get("settings")
    if not isinstance(rule, Mapping) or not is_number(rule.get("min_signals")) or rule["min_signals"] <= 0:
        return None
    cd45 = thresholds.get("cd45_threshold")
    counts = is_number(cd45) and rule.get("mode") != "paper"
    return float(rule["min_signals"]), float(cd45) if counts else 0.0
