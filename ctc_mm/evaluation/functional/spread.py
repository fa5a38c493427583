"""Mean and spread over folds or seeds, with what is undefined counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Spread:
    """A value over folds or seeds.

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
        values: one a fold or seed; NaN or None: undefined there.
    """
    defined = np.array([value for value in values if value is not None and not math.isnan(value)], np.float64)
    mean = float(defined.mean()) if defined.size else math.nan
    sd = float(defined.std(ddof=1)) if defined.size > 1 else math.nan
    return Spread(mean, sd, int(defined.size), len(values) - int(defined.size))


def number(value: float | None) -> float | None:
    """NaN (undefined) becomes null; JSON has no NaN."""
    return None if value is None or math.isnan(value) else float(value)
