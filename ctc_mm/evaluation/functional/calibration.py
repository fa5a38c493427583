"""Do the probabilities mean what they say: reliability bins, calibration error, temperature scaling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from ctc_mm.evaluation.functional.binary import check_truth_and_scores, log_losses

TEMPERATURE_RANGE = (0.05, 20.0)


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """Cells by their predicted probability.

    Args:
        edges: float64 (B + 1,), from 0 to 1; a bin holds its lower edge, the last one also 1.
        count: int64 (B,), cells; n_target: int64 (B,), target cells among them.
        mean_probability: float64 (B,), NaN where a bin is empty.
    """

    edges: np.ndarray
    count: np.ndarray
    n_target: np.ndarray
    mean_probability: np.ndarray

    @property
    def observed(self) -> np.ndarray:
        """Float64 (B,), share of target cells; NaN where a bin is empty."""
        return np.divide(self.n_target, self.count, out=np.full(self.count.shape, np.nan), where=self.count > 0)


@dataclass(frozen=True)
class Temperature:
    """What the log-odds are divided by; above 1 softens over-confident scores.

    Args:
        value: the temperature.
        reason: why it is not the minimum of the log-loss; '' where it is.
    """

    value: float
    reason: str = ""


def reliability_bins(gt: np.ndarray, probability: np.ndarray, n_bins: int = 10) -> ReliabilityBins:
    """Sort cells into ``n_bins`` equally wide bins of predicted probability.

    Args:
        gt: (N,), 1 = target.
        probability: (N,), of the target, in [0, 1].
        n_bins: at least 1.

    Raises:
        ValueError: a probability outside [0, 1], or no bin.
    """
    truth, scores = check_truth_and_scores(gt, probability)
    if n_bins < 1:
        raise ValueError(f"`n_bins` must be at least 1. Received: {n_bins}")
    if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
        raise ValueError(f"`probability` must lie in [0, 1]. Received: {scores.min()} to {scores.max()}")
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    place = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, n_bins - 1)
    count = np.bincount(place, minlength=n_bins)
    total = np.bincount(place, scores, n_bins)
    mean = np.divide(total, count, out=np.full(n_bins, np.nan), where=count > 0)
    return ReliabilityBins(edges, count, np.bincount(place, truth, n_bins).astype(np.int64), mean)


def expected_calibration_error(gt: np.ndarray, probability: np.ndarray, n_bins: int = 10) -> float:
    """Mean distance, weighted by cells, between predicted probability and observed share of target cells.

    It is taken over the probability of the target (not over the confidence of the winning class), as that is the
    number a user reads. Arguments are those of ``reliability_bins``.

    Returns:
        In [0, 1]; NaN without cells.

    Source: Naeini et al., AAAI 2015; Guo et al., ICML 2017, Eq. 3.
    """
    bins = reliability_bins(gt, probability, n_bins)
    if not bins.count.sum():
        return math.nan
    filled = bins.count > 0
    distance = np.abs(bins.observed[filled] - bins.mean_probability[filled])
    return float(np.sum(bins.count[filled] * distance) / bins.count.sum())


def apply_temperature(logit: np.ndarray, temperature: float) -> np.ndarray:
    """Probability of the target after temperature scaling, float64 (N,)."""
    return expit(np.asarray(logit, np.float64) / temperature)


def fit_temperature(gt: np.ndarray, logit: np.ndarray) -> Temperature:
    """Fit the temperature that minimises the log-loss, searched over log T within ``TEMPERATURE_RANGE``.

    Where the cells cannot determine it, T stays 1 and the reason says so: one class only, or every cell on its right
    side of 0.5 (the loss then falls without end as T goes to 0).

    Args:
        gt: (N,), 1 = target.
        logit: (N,), log-odds of the target.

    Source: Guo et al., ICML 2017, section 4.2.
    """
    truth, logits = check_truth_and_scores(gt, logit)
    if not 0 < truth.sum() < truth.size:
        return Temperature(1.0, f"{int(truth.sum())} target and {int((~truth).sum())} other cells: both are needed")
    if (np.where(truth, logits, -logits) > 0).all():
        return Temperature(1.0, "every cell is on its right side of 0.5: the log-loss has no minimum")
    low, high = np.log(TEMPERATURE_RANGE)
    found = minimize_scalar(
        lambda log_t: float(log_losses(truth, logits / math.exp(log_t)).mean()),
        bounds=(low, high), method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    value = math.exp(float(found.x))
    at_bound = min(float(found.x) - low, high - float(found.x)) < 1e-3
    return Temperature(value, f"at the end of the range {TEMPERATURE_RANGE} that is searched" if at_bound else "")
