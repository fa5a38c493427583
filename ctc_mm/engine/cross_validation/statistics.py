"""Mean and spread over folds, with what is undefined counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Spread:
    """A value over folds.

    Attributes:
        mean: of the folds where it is defined; NaN without any.
        sd: standard deviation (n - 1); NaN for fewer than two. Training sets of folds overlap, so it says how much
            folds differ and is no standard error of the mean.
        n: folds where it is defined.
        n_undefined: folds where it is not (a class that is absent).
    """

    mean: float
    sd: float
    n: int
    n_undefined: int

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, null where undefined."""
        return {"mean": number(self.mean), "sd": number(self.sd), "folds": self.n, "undefined_folds": self.n_undefined}


def mean_sd(values: Sequence[float | None]) -> Spread:
    """Mean and standard deviation (n - 1) of what is defined.

    Args:
        values: one a fold; NaN or None: undefined there.
    """
    defined = np.array([value for value in values if value is not None and not math.isnan(value)], np.float64)
    mean = float(defined.mean()) if defined.size else math.nan
    sd = float(defined.std(ddof=1)) if defined.size > 1 else math.nan
    return Spread(mean, sd, int(defined.size), len(values) - int(defined.size))


def number(value: float | None) -> float | None:
    """NaN (undefined) becomes null; JSON has no NaN."""
    return None if value is None or math.isnan(value) else float(value)


@dataclass(frozen=True, eq=False)
class MeanROC:
    """Vertical mean of the folds' ROC curves.

    Attributes:
        fpr: float64 (P,), false-positive rates 0..1.
        mean: float64 (P,), mean sensitivity there; sd: float64 (P,), n - 1.
        n: folds that have both classes.
    """

    fpr: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    n: int


def mean_roc(curves: Sequence[tuple[np.ndarray, np.ndarray]], points: int = 501) -> MeanROC | None:
    """Average ROC curves at equal false-positive rates (Fawcett 2006, vertical averaging).

    Args:
        curves: (false-positive rate, sensitivity) of each fold, both rising; a fold without one class is left out by
            the caller.
        points: rates at which they are averaged.

    Returns:
        None without a curve.
    """
    if not curves:
        return None
    grid = np.linspace(0.0, 1.0, points)
    rows = np.array([_at_rates(grid, np.asarray(fpr), np.asarray(tpr)) for fpr, tpr in curves])
    sd = rows.std(axis=0, ddof=1) if len(rows) > 1 else np.full(points, np.nan)
    mean = rows.mean(axis=0)
    mean[-1] = 1.0
    return MeanROC(grid, mean, sd, len(rows))


def _at_rates(grid: np.ndarray, fpr: np.ndarray, tpr: np.ndarray) -> np.ndarray:
    """Sensitivity at each rate; where the curve rises upright, the top: np.interp takes the last of equal places."""
    return np.interp(grid, np.concatenate([[0.0], fpr, [1.0]]), np.concatenate([[0.0], tpr, [1.0]]))
