"""Bootstrap by group: how far a figure may lie off because other patients (slides, images) might have come.

Cells of one group resemble each other. Drawing groups instead of cells keeps that in the interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
    return bootstrap_figures({"": statistic}, groups, n_resamples, seed, confidence, method)[""]


def bootstrap_figures(
    statistics: Mapping[str, Statistic],
    groups: np.ndarray,
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
    method: Literal["percentile", "bca"] = "percentile",
) -> dict[str, BootstrapInterval]:
    """Intervals of several figures on the same resamples, each as ``bootstrap_by_group`` gives it.

    Args:
        statistics: by name, see ``bootstrap_by_group``; so are the other arguments.
        groups: (N,).
        n_resamples: at least 1.
        seed: of the draws.
        confidence: in (0, 1).
        method: ``percentile`` or ``bca``.

    Raises:
        ValueError: no cell, or an argument out of range.
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
    n_groups, rng = names.size, np.random.default_rng(seed)
    once = np.ones(groups.size, np.int64)
    estimates = {name: float(statistic(once)) for name, statistic in statistics.items()}
    values: dict[str, list[float]] = {name: [] for name, value in estimates.items() if not math.isnan(value)}
    for _ in range(n_resamples if n_groups > 1 and values else 0):
        # The draws come one by one: all of them at once would need gigabytes for a large set.
        times = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)[member]
        for name, drawn in values.items():
            drawn.append(float(statistics[name](times)))
    left_out = _Jackknife(member, n_groups) if method == "bca" else None
    return {
        name: _interval(statistics[name], estimate, np.array(values.get(name, ())), n_groups, confidence, left_out)
        for name, estimate in estimates.items()
    }


@dataclass(frozen=True, eq=False)
class _Jackknife:
    """Groups to be left out one by one: ``member`` int64 (N,), the group of each cell."""

    member: np.ndarray
    n_groups: int

    def values(self, statistic: Statistic) -> np.ndarray:
        return np.array([statistic((self.member != group).astype(np.int64)) for group in range(self.n_groups)])


def _interval(
    statistic: Statistic,
    estimate: float,
    values: np.ndarray,
    n_groups: int,
    confidence: float,
    left_out: _Jackknife | None,
) -> BootstrapInterval:
    method = "percentile" if left_out is None else "bca"
    usable = np.sort(values[~np.isnan(values)])
    counts = (n_groups, values.size, values.size - usable.size)
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    problem = ""
    if math.isnan(estimate):
        problem = "undefined on these cells"
    elif n_groups == 1:
        problem = "one group only: how groups differ cannot be seen"
    elif usable.size < 1 / tails[0]:
        problem = f"only {usable.size} usable resamples of {values.size}: too few for an interval"
    if problem:
        return BootstrapInterval(estimate, math.nan, math.nan, *counts, method, problem)
    if left_out is not None:
        tails, method = _bca_tails(estimate, usable, tails, left_out.values(statistic))
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


def _bca_tails(estimate: float, usable: np.ndarray, tails: np.ndarray, left_out: np.ndarray) -> tuple[np.ndarray, str]:
    """Quantiles to read off after correction; those of the percentile interval where the correction is undefined."""
    below = (np.sum(usable < estimate) + np.sum(usable == estimate) / 2) / usable.size
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
    outcome = 2 * np.asarray(gt, np.int64) + np.asarray(called, np.int64)  # 0 tn, 1 fp, 2 fn, 3 tp

    def statistic(times: np.ndarray) -> float:
        tn, fp, fn, tp = np.bincount(outcome, times, 4).tolist()
        if not (tp + fn and tn + fp):
            return math.nan
        f1 = 2 * tp / (2 * tp + fp + fn)
        f1_rest = 2 * tn / (2 * tn + fp + fn)
        return (f1 + f1_rest) / 2 if macro else f1

    return statistic
