"""Every threshold of a score at once: ROC and precision-recall curve, their areas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from ctc_mm.evaluation.functional.binary import BinaryCounts, check_truth_and_scores


@dataclass(frozen=True, eq=False)
class ScoreCurve:
    """One point for each distinct score, highest first: the counts that a threshold at that score (``>=``) yields.

    Args:
        score: float64 (P,), strictly descending.
        tp: int64 (P,), target cells at or above the score; fp: int64 (P,), other cells there.
        n_target, n_rest: cells of either kind.
    """

    score: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    n_target: int
    n_rest: int

    @property
    def sensitivity(self) -> np.ndarray:
        """Float64 (P,), true-positive rate (recall); NaN without target cells."""
        return self.tp / self.n_target if self.n_target else np.full(self.tp.shape, np.nan)

    @property
    def fpr(self) -> np.ndarray:
        """Float64 (P,), false-positive rate (1 - specificity); NaN without other cells."""
        return self.fp / self.n_rest if self.n_rest else np.full(self.fp.shape, np.nan)

    @property
    def precision(self) -> np.ndarray:
        """Float64 (P,)."""
        return self.tp / (self.tp + self.fp)

    def counts(self, point: int) -> BinaryCounts:
        """Confusion matrix at a point of the curve."""
        tp, fp = int(self.tp[point]), int(self.fp[point])
        return BinaryCounts(tp, fp, self.n_target - tp, self.n_rest - fp)


def roc_curve(gt: np.ndarray, score: np.ndarray) -> ScoreCurve:
    """Count at every distinct score; equal scores make one point, so the order of the cells does not matter.

    Args:
        gt: (N,), 1 = target, 0 = rest; N may be 0.
        score: (N,), finite.

    Raises:
        ValueError: see ``check_truth_and_scores``.
    """
    truth, scores = check_truth_and_scores(gt, score)
    distinct, place = np.unique(scores, return_inverse=True)
    tp = np.bincount(place, truth, distinct.size)[::-1].cumsum().astype(np.int64)
    fp = np.bincount(place, ~truth, distinct.size)[::-1].cumsum().astype(np.int64)
    return ScoreCurve(distinct[::-1], tp, fp, int(truth.sum()), int((~truth).sum()))


def roc_auc(gt: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a CTC scores above another cell (a tie counts half).

    Returns:
        In [0, 1]; NaN with one class only.
    """
    truth, scores = check_truth_and_scores(gt, score)
    return float(roc_auc_score(truth, scores)) if 0 < truth.sum() < truth.size else math.nan


def binary_average_precision(gt: np.ndarray, score: np.ndarray) -> float:
    """Average precision as scikit-learn defines it: precision at each recall step, not interpolated.

    (Detection's ``average_precision`` makes precision monotone first, as Pascal VOC does.)

    Returns:
        In (0, 1]; NaN without target cells.
    """
    truth, scores = check_truth_and_scores(gt, score)
    return float(average_precision_score(truth, scores)) if truth.any() else math.nan
