"""From matched predictions to numbers: counts at a threshold, the precision-recall curve, its area, the best F1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctc_mm.evaluation.functional.records import ClassMatches, Counts

COCO_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, eq=False)
class PRCurve:
    """One point for each distinct score, highest first: what a threshold at that score (``>=``) yields.

    Args:
        score: float64 (P,), strictly descending.
        tp: int64 (P,), hits at or above the score; fp: int64 (P,), false positives.
        n_truth: true objects.
    """

    score: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    n_truth: int

    @property
    def precision(self) -> np.ndarray:
        """Float64 (P,)."""
        return self.tp / (self.tp + self.fp)

    @property
    def recall(self) -> np.ndarray:
        """Float64 (P,); 0 everywhere if there is no truth (every point then claims what is not there)."""
        return self.tp / max(self.n_truth, 1)

    @property
    def f1(self) -> np.ndarray:
        """Float64 (P,)."""
        return 2 * self.tp / (self.tp + self.fp + self.n_truth)

    def counts(self, point: int) -> Counts:
        """Counts at a point of the curve."""
        tp = int(self.tp[point])
        return Counts(tp, int(self.fp[point]), self.n_truth - tp)


@dataclass(frozen=True)
class BestF1:
    """The score threshold (``>=``) of the highest F1 and the counts there."""

    score_thr: float
    counts: Counts


def counts_at(matches: ClassMatches, score_thr: float) -> Counts:
    """Count hits, false positives and misses among predictions with score >= ``score_thr``."""
    kept = matches.scores >= score_thr
    tp = int((matches.is_tp & kept).sum())
    return Counts(tp, int(kept.sum()) - tp, matches.n_truth - tp)


def pr_curve(matches: ClassMatches) -> PRCurve:
    """Precision-recall curve; equal scores make one point, so it does not depend on the order of the images."""
    last_of_equals = np.flatnonzero(np.append(np.diff(matches.scores) != 0, True)) if matches.scores.size else []
    tp, seen = np.cumsum(matches.is_tp), np.arange(1, matches.scores.size + 1)
    points = np.asarray(last_of_equals, np.int64)
    return PRCurve(matches.scores[points], tp[points], (seen - tp)[points], matches.n_truth)


def _envelope(precision: np.ndarray) -> np.ndarray:
    """Best precision at this recall or a higher one."""
    return np.maximum.accumulate(precision[::-1])[::-1]


def average_precision(curve: PRCurve) -> float:
    """Area under the precision-recall curve: every point used, precision made monotone (Pascal VOC 2010 and later).

    Returns:
        In [0, 1]: 0 if nothing was predicted; NaN if there is no truth, where it is undefined and, as in COCO, to be
        left out of a mean over classes.
    """
    if curve.n_truth == 0:
        return float("nan")
    return float(np.sum(np.diff(curve.recall, prepend=0.0) * _envelope(curve.precision)))


def coco_average_precision(matches: ClassMatches) -> float:
    """COCO's average precision at one IoU: monotone precision sampled at 101 recalls, each prediction its own point.

    Returns:
        In [0, 1]; NaN if there is no truth (COCO writes -1).
    """
    if matches.n_truth == 0:
        return float("nan")
    tp = np.cumsum(matches.is_tp)
    precision = _envelope(tp / np.arange(1, matches.scores.size + 1))
    first = np.searchsorted(tp / matches.n_truth, COCO_RECALLS, side="left")
    reached = first < precision.size
    return float(np.sum(precision[first[reached]]) / COCO_RECALLS.size)


def best_f1(curve: PRCurve) -> BestF1 | None:
    """Find the threshold of the highest F1 (of equals the highest score, which claims the fewest objects).

    Returns:
        None if no threshold finds any true object: there is then nothing to choose by.
    """
    if not curve.tp.any():
        return None
    point = int(np.argmax(curve.f1))
    return BestF1(float(curve.score[point]), curve.counts(point))


def mean_defined(values: list[float]) -> float:
    """Mean of the values that are defined (not NaN); NaN if none is."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
