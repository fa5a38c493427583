"""Size alone as a classifier: a cell is called CTC if its diameter reaches a threshold.

Cell lines are larger than leukocytes, CTCs of patients overlap with them. What a network does better than this
baseline is what it has learned beyond size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctc_mm.evaluation.functional.binary import BinaryCounts, binary_counts
from ctc_mm.evaluation.functional.roc import roc_auc
from ctc_mm.evaluation.functional.thresholds import YOUDEN, choose_thresholds

UNKNOWN = "no cell has a known diameter"
NOT_CHOSEN = "no cell had a known diameter where the threshold was to be chosen"


@dataclass(frozen=True, eq=False)
class CellSizes:
    """Diameters in one unit.

    Args:
        diameter: float64 (N,), NaN where unknown.
        unit: ``um`` or ``px``; None where no cell has a size.
    """

    diameter: np.ndarray
    unit: str | None

    @property
    def is_known(self) -> np.ndarray:
        """Bool (N,)."""
        return np.isfinite(self.diameter)


@dataclass(frozen=True)
class SizeBaseline:
    """How far size alone gets, on the cells of known size.

    Args:
        unit: of the threshold.
        threshold: chosen before, or None.
        auc: larger = CTC; below 0.5 the CTC are the smaller cells. NaN with one class.
        counts: at the threshold; None without one.
        n, n_unknown: cells with and without a size.
        reason: why there is no threshold or no result, or ''.
    """

    unit: str | None
    threshold: float | None
    auc: float
    counts: BinaryCounts | None
    n: int
    n_unknown: int
    reason: str = ""


def cell_sizes(diameter_um: np.ndarray, diameter_px: np.ndarray, unit: str | None = None) -> CellSizes:
    """Pick the unit in which more cells are known (micrometres if equal), or take ``unit``.

    Args:
        diameter_um: float64 (N,), NaN where unknown.
        diameter_px: float64 (N,), NaN where unknown.
        unit: ``um`` or ``px``, the unit of a threshold chosen before.
    """
    sizes = {"um": np.asarray(diameter_um, np.float64), "px": np.asarray(diameter_px, np.float64)}
    known = {name: int(np.isfinite(values).sum()) for name, values in sizes.items()}
    if unit is None:
        unit = "um" if known["um"] >= known["px"] else "px"
    return CellSizes(sizes[unit], unit if known[unit] else None)


def choose_size_threshold(gt: np.ndarray, sizes: CellSizes) -> tuple[float | None, str]:
    """Choose the diameter of best Youden index, the rule that also serves the classifier.

    Returns:
        ``(threshold, reason)``: None and why, or a threshold and ''.
    """
    if sizes.unit is None:
        return None, NOT_CHOSEN
    chosen = choose_thresholds(np.asarray(gt)[sizes.is_known], sizes.diameter[sizes.is_known])[YOUDEN]
    return chosen.threshold, chosen.reason


def evaluate_size(gt: np.ndarray, sizes: CellSizes, threshold: float | None, reason: str = "") -> SizeBaseline:
    """Apply a size threshold that was chosen before.

    Args:
        gt: (N,), 1 = target.
        sizes: of the same cells, in the threshold's unit.
        threshold: None gives the area under the curve alone.
        reason: why there is no threshold.
    """
    known = sizes.is_known
    truth, diameter = np.asarray(gt)[known], sizes.diameter[known]
    n, n_unknown = int(known.sum()), int((~known).sum())
    if not n:
        return SizeBaseline(None, threshold, float("nan"), None, 0, n_unknown, UNKNOWN)
    counts = None if threshold is None else binary_counts(truth, diameter, threshold)
    return SizeBaseline(sizes.unit, threshold, roc_auc(truth, diameter), counts, n, n_unknown, reason)
