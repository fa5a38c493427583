"""Operating points of a binary classifier: thresholds chosen on validation by a stated rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctc_mm.evaluation.functional.binary import BinaryCounts
from ctc_mm.evaluation.functional.roc import ScoreCurve, roc_curve

YOUDEN, SENSITIVITY, FPR = "youden", "wanted_sensitivity", "wanted_fpr"


@dataclass(frozen=True)
class ChosenThreshold:
    """Outcome of one rule on the cells that it was chosen on.

    Args:
        threshold: a cell is called target if its score is >= this; None where the rule cannot be met.
        counts: confusion matrix there; None as above.
        reason: why there is no threshold; '' where there is one.
    """

    threshold: float | None
    counts: BinaryCounts | None
    reason: str = ""


def choose_thresholds(
    gt: np.ndarray, score: np.ndarray, wanted_sensitivity: float = 0.95, wanted_fpr: float = 0.01
) -> dict[str, ChosenThreshold]:
    """Choose a threshold by each rule.

    - ``youden``: highest sensitivity + specificity - 1 (of equals the highest threshold, with the fewest false CTC);
    - ``wanted_sensitivity``: the highest threshold with sensitivity >= ``wanted_sensitivity``;
    - ``wanted_fpr``: the lowest threshold with a false-positive rate <= ``wanted_fpr``.

    A threshold lies halfway between the lowest score that it lets through and the next lower one: on these cells the
    calls are the same as at the score itself, and rounding on another machine moves no cell across.

    Args:
        gt: (N,), 1 = target, 0 = rest.
        score: (N,), finite.
        wanted_sensitivity: in (0, 1].
        wanted_fpr: in [0, 1).

    Raises:
        ValueError: a wish out of range.
    """
    check_wishes(wanted_sensitivity, wanted_fpr)
    curve = roc_curve(gt, score)
    missing = [name for name, n in (("target", curve.n_target), ("other", curve.n_rest)) if not n]
    if missing:
        reason = f"no {' and no '.join(missing)} cell to choose it on"
        return {rule: ChosenThreshold(None, None, reason) for rule in (YOUDEN, SENSITIVITY, FPR)}
    return {
        YOUDEN: _at(curve, int(np.argmax(curve.sensitivity - curve.fpr))),
        SENSITIVITY: _at(curve, int(np.flatnonzero(_at_least(curve.tp, wanted_sensitivity, curve.n_target))[0])),
        FPR: _at_wanted_fpr(curve, wanted_fpr),
    }


def check_wishes(wanted_sensitivity: float, wanted_fpr: float) -> None:
    """Check the range of both wishes.

    Raises:
        ValueError: one is out of range.
    """
    if not 0 < wanted_sensitivity <= 1:
        raise ValueError(f"`wanted_sensitivity` must lie in (0, 1]. Received: {wanted_sensitivity}")
    if not 0 <= wanted_fpr < 1:
        raise ValueError(f"`wanted_fpr` must lie in [0, 1). Received: {wanted_fpr}")


def _at_least(part: np.ndarray, wanted: float, whole: int) -> np.ndarray:
    return part / whole >= wanted


def _at(curve: ScoreCurve, point: int) -> ChosenThreshold:
    score = float(curve.score[point])
    threshold = score
    if point + 1 < curve.score.size:
        below = float(curve.score[point + 1])
        halfway = below + (score - below) / 2
        threshold = halfway if below < halfway <= score else score  # neighbouring floats have no middle
    return ChosenThreshold(threshold, curve.counts(point))


def _at_wanted_fpr(curve: ScoreCurve, wanted_fpr: float) -> ChosenThreshold:
    allowed = np.flatnonzero((curve.fpr <= wanted_fpr) & (curve.tp > 0))
    if not allowed.size:
        return ChosenThreshold(
            None, None, f"every threshold that finds a target cell has a false-positive rate above {wanted_fpr:g}"
        )
    return _at(curve, int(allowed[-1]))
