"""Bootstrap by group: how far a figure may lie off because other patients (slides, images) might have come.

Cells of one group resemble each other. Drawing groups instead of cells keeps that in the interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import norm

from ctc_mm.evaluation.functional.binary import check_truth_and_scores

FEW_GROUPS = 10
Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class BootstrapInterval:
    """An estimate with its interval.

    Args:
        estimate: on the cells as they are; NaN where undefined.
        low, high: ends of the interval; NaN where there is none, and ``note`` says why.
        n_groups: groups drawn from.
        n_resamples: resamples drawn; n_unusable: those on which the figure is undefined (one class absent), left out.
        method: ``percentile`` or ``bca``, as computed.
        note: what to keep in mind, or ''.
    """

    estimate: float
    low: float
    high: float
    n_groups: int
    n_resamples: int
    n_unusable: int
    method: str
    note: str = ""


def bootstrap_by_group(
    statistic: Statistic,
    groups: np.ndarray,
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    method: Literal["percentile", "bca"] = "percentile",
) -> BootstrapInterval:
    """Interval of a figure under drawing whole groups with replacement (cluster bootstrap).

    Args:
        statistic: takes how often each cell was drawn, int64 (N,), and returns the figure; NaN where undefined.
        groups: (N,), group of each cell (any sortable type); a group per cell makes it the ordinary bootstrap.
        n_resamples: at least 1.
        seed: of the draws.
        confidence: in (0, 1).
        method: ``bca`` corrects bias and skewness by a jackknife over groups (Efron 1987); where that is undefined the
            percentile interval is given instead.

    Raises:
        ValueError: no cell, or an argument out of range.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8, 13 and 14; Field and Welsh, J. R.
    Stat. Soc. B 69 (2007), for clusters.
    """
    groups = np.asarray(groups)
    if groups.ndim != 1 or not groups.size:
        raise ValueError(f"`groups` must be (N,) with at least one cell. Received shape: {groups.shape}")
    if n_resamples < 1 or not 0 < confidence < 1 or method not in ("percentile", "bca"):
        raise ValueError(
            "`n_resamples` must be at least 1, `confidence` in (0, 1), `method` 'percentile' or 'bca'. "
            f"Received: {n_resamples}, {confidence}, {method!r}"
        )
    names, member = np.unique(groups, return_inverse=True)
    n_groups = names.size
    estimate = float(statistic(np.ones(groups.size, np.int64)))
    if n_groups == 1 or math.isnan(estimate):
        note = "undefined on these cells" if n_groups > 1 else "one group only: how groups differ cannot be seen"
        return BootstrapInterval(estimate, math.nan, math.nan, n_groups, 0, 0, method, note)
    rng = np.random.default_rng(seed)
    drawn = [np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups) for _ in range(n_resamples)]
    values = np.array([statistic(times[member]) for times in drawn])
    usable = np.sort(values[~np.isnan(values)])
    counts = (n_groups, n_resamples, n_resamples - usable.size)
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if usable.size < 1 / tails[0]:
        note = f"only {usable.size} usable resamples: too few for an interval"
        return BootstrapInterval(estimate, math.nan, math.nan, *counts, method, note)
    if method == "bca":
        tails, method = _bca_tails(statistic, member, n_groups, estimate, usable, tails)
    low, high = np.quantile(usable, tails)
    return BootstrapInterval(estimate, float(low), float(high), *counts, method, _note(n_groups, low, high, counts))


def _note(n_groups: int, low: float, high: float, counts: tuple[int, int, int]) -> str:
    notes = []
    if low == high:
        notes.append("every resample gives the same value: the interval cannot show the uncertainty")
    if n_groups < FEW_GROUPS:
        notes.append(f"{n_groups} groups only: the interval is rough and tends to be too narrow")
    if counts[2] > counts[1] / 10:
        notes.append(f"{counts[2]} of {counts[1]} resamples lack a class and are left out")
    return "; ".join(notes)


def _bca_tails(
    statistic: Statistic, member: np.ndarray, n_groups: int, estimate: float, usable: np.ndarray, tails: np.ndarray
) -> tuple[np.ndarray, str]:
    """Quantiles to read off after correction; those of the percentile interval where the correction is undefined."""
    below = (np.sum(usable < estimate) + np.sum(usable == estimate) / 2) / usable.size
    left_out = np.array([statistic((member != group).astype(np.int64)) for group in range(n_groups)])
    deviation = left_out.mean() - left_out
    spread = np.sum(deviation**2)
    if not (0 < below < 1 and spread > 0):  # also where a jackknife value is NaN
        return tails, "percentile"
    bias, acceleration = norm.ppf(below), np.sum(deviation**3) / (6 * spread**1.5)
    shifted = bias + norm.ppf(tails)
    return norm.cdf(bias + shifted / (1 - acceleration * shifted)), "bca"


def weighted_auc(gt: np.ndarray, score: np.ndarray) -> Statistic:
    """Area under the ROC curve as a function of how often each cell was drawn.

    The cells are sorted once, so that a resample costs a few passes over them.

    Args:
        gt: (N,), 1 = target.
        score: (N,).

    Returns:
        Function of int64 (N,); NaN where a class was not drawn.
    """
    truth, scores = check_truth_and_scores(gt, score)
    order = np.argsort(scores, kind="stable")
    truth = truth[order]
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) != 0)

    def statistic(times: np.ndarray) -> float:
        ordered = times[order]
        target = np.add.reduceat(ordered * truth, starts)
        rest = np.add.reduceat(ordered * ~truth, starts)
        pairs = int(target.sum()) * int(rest.sum())
        if not pairs:
            return math.nan
        beaten_twice = 2 * (np.cumsum(rest) - rest) + rest  # a tie counts half
        return float(np.sum(target * beaten_twice) / (2 * pairs))

    return statistic


def weighted_f1(gt: np.ndarray, called: np.ndarray, *, macro: bool = False) -> Statistic:
    """F1 of the target (``macro``: mean of both classes') as a function of how often each cell was drawn.

    Args:
        gt: (N,), 1 = target.
        called: (N,), 1 = called target.
        macro: mean of the F1 of target and rest.

    Returns:
        Function of int64 (N,); NaN where a class was not drawn.
    """
    truth, calls = np.asarray(gt).astype(bool), np.asarray(called).astype(bool)
    hits, errors, rest_hits = truth & calls, truth ^ calls, ~truth & ~calls

    def statistic(times: np.ndarray) -> float:
        tp, wrong, tn = int(times[hits].sum()), int(times[errors].sum()), int(times[rest_hits].sum())
        n_target = int(times[truth].sum())
        if n_target in (0, int(times.sum())):
            return math.nan
        f1 = 2 * tp / (2 * tp + wrong) if tp + wrong else 0.0
        f1_rest = 2 * tn / (2 * tn + wrong) if tn + wrong else 0.0
        return (f1 + f1_rest) / 2 if macro else f1

    return statistic
