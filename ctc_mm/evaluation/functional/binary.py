"""One class (the target, here CTC) against the rest at a score threshold: counts, rates, log-loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BinaryCounts:
    """Confusion matrix of the target against the rest, with the rates made of it.

    A rate with nothing to divide by is NaN: a set without CTC has no sensitivity, and no classifier earned a 0 or a 1.

    Args:
        tp: CTC called CTC; fp: others called CTC; fn: CTC called something else; tn: others called others.

    Raises:
        ValueError: a negative count.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    def __post_init__(self) -> None:
        if min(self.tp, self.fp, self.fn, self.tn) < 0:
            raise ValueError(f"counts cannot be negative. Received: {self}")

    def __add__(self, other: BinaryCounts) -> BinaryCounts:
        return BinaryCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def n_target(self) -> int:
        """Cells that are CTC."""
        return self.tp + self.fn

    @property
    def n_rest(self) -> int:
        """Cells that are not."""
        return self.fp + self.tn

    @property
    def n(self) -> int:
        """All cells."""
        return self.n_target + self.n_rest

    @property
    def sensitivity(self) -> float:
        """CTC found among all CTC (recall)."""
        return _ratio(self.tp, self.n_target)

    @property
    def specificity(self) -> float:
        """Others called others, among all others."""
        return _ratio(self.tn, self.n_rest)

    @property
    def false_positive_rate(self) -> float:
        """Others called CTC, among all others."""
        return _ratio(self.fp, self.n_rest)

    @property
    def precision(self) -> float:
        """True CTC among the cells called CTC."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def accuracy(self) -> float:
        """Cells called right, among all."""
        return _ratio(self.tp + self.tn, self.n)

    @property
    def balanced_accuracy(self) -> float:
        """Mean of sensitivity and specificity."""
        return (self.sensitivity + self.specificity) / 2

    @property
    def youden(self) -> float:
        """Sensitivity + specificity - 1 (Youden 1950)."""
        return self.sensitivity + self.specificity - 1

    @property
    def f1(self) -> float:
        """F1 of the target: 2 tp / (2 tp + fp + fn); 0 where all CTC are missed, NaN where there are none."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn) if self.n_target else math.nan

    @property
    def f1_rest(self) -> float:
        """F1 of the rest, taken as the class to be found."""
        return _ratio(2 * self.tn, 2 * self.tn + self.fp + self.fn) if self.n_rest else math.nan

    @property
    def f1_macro(self) -> float:
        """Mean of both classes' F1."""
        return (self.f1 + self.f1_rest) / 2


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def check_truth_and_scores(gt: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return truth as bool (N,) and scores as float64 (N,).

    Raises:
        ValueError: shapes differ or are not (N,), a truth other than 0 and 1, a score that is not finite.
    """
    truth, scores = np.asarray(gt), np.asarray(score, np.float64)
    if truth.ndim != 1 or truth.shape != scores.shape:
        raise ValueError(f"`gt` and `score` must both be (N,). Received: {truth.shape} and {scores.shape}")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError(f"`gt` must be 1 (target) or 0 (rest). Received: {np.unique(truth)[:5].tolist()}")
    if not np.isfinite(scores).all():
        raise ValueError(f"`score` must be finite. Received {int((~np.isfinite(scores)).sum())} NaN or infinite scores")
    return truth.astype(bool), scores


def binary_counts(gt: np.ndarray, score: np.ndarray, threshold: float = 0.5) -> BinaryCounts:
    """Count right and wrong calls; a cell is called target if ``score >= threshold``.

    Args:
        gt: (N,), 1 = target, 0 = rest; N may be 0.
        score: (N,), any scale that rises with the target (probability, diameter).
        threshold: on the scale of ``score``.

    Raises:
        ValueError: see ``check_truth_and_scores``.
    """
    truth, scores = check_truth_and_scores(gt, score)
    called = scores >= threshold
    tp, fp = int((truth & called).sum()), int((~truth & called).sum())
    return BinaryCounts(tp, fp, int(truth.sum()) - tp, int((~truth).sum()) - fp)


def binary_metrics(gt: np.ndarray, score: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """Rates at a threshold by the names used in logs and tables, NaN where undefined.

    Arguments are those of ``binary_counts``.
    """
    return rates_of(binary_counts(gt, score, threshold))


def rates_of(counts: BinaryCounts) -> dict[str, float]:
    """All rates of a confusion matrix by name, NaN where undefined."""
    return {
        "sensitivity": counts.sensitivity,
        "specificity": counts.specificity,
        "precision": counts.precision,
        "F1": counts.f1,
        "F1_macro": counts.f1_macro,
        "accuracy": counts.accuracy,
        "balanced_accuracy": counts.balanced_accuracy,
    }


def log_losses(gt: np.ndarray, logit: np.ndarray) -> np.ndarray:
    """Log-loss of each cell, float64 (N,): -log of the probability given to what it is.

    Args:
        gt: (N,), 1 = target.
        logit: (N,), log-odds of the target; finite.
    """
    truth, logits = check_truth_and_scores(gt, logit)
    return np.logaddexp(0.0, np.where(truth, -logits, logits))


def balanced_log_loss(gt: np.ndarray, logit: np.ndarray) -> float:
    """Mean over the classes present of their cells' mean log-loss.

    A rare class weighs as much as a common one; with one class absent it is the other's mean; NaN without cells.
    """
    losses, truth = log_losses(gt, logit), np.asarray(gt).astype(bool)
    means = [float(part.mean()) for part in (losses[truth], losses[~truth]) if part.size]
    return float(np.mean(means)) if means else math.nan
