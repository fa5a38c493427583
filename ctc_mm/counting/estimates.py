"""Estimates with intervals, and the confidence draws that carry several uncertainties into one of them.

A count has no one confidence distribution but two: quantiles of the lower one give the lower end of the exact interval,
quantiles of the upper one its upper end. Drawing from both, and taking for each end of a result the draws that lie
farther out, gives exact intervals where theory knows them (one count; the ratio of two) and intervals on the safe side
where it does not. Source: Krishnamoorthy and Lee, J. Stat. Plan. Inference 140 (2010) 1182, fiducial intervals of
functions of binomial and Poisson parameters; the pair of gamma and beta distributions is that of Garwood (1936) and of
Clopper and Pearson (1934).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

CONFIDENCE = 0.95
GARWOOD = "exact Poisson interval (Garwood 1936)"
# The ends of a 95 % interval are then within about 1 % of their limit.
N_DRAWS = 100_000
SEED = 0


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: best estimate.
        low: lower end of the interval.
        high: upper end.
        confidence: of the interval, in (0, 1).
        method: how the interval was found, with its source.
    """

    value: float
    low: float
    high: float
    confidence: float
    method: str

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; null where a number is undefined or infinite."""
        return {key: _finite(value) for key, value in asdict(self).items()}

    def scaled(self, factor: float) -> Estimate:
        """The estimate in another unit."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor, self.confidence, self.method)


@dataclass(frozen=True, eq=False)
class Draws:
    """Confidence draws of one quantity, float64 (N,).

    Attributes:
        low: of the distribution that bounds it from below.
        high: of the one that bounds it from above.
    """

    low: np.ndarray
    high: np.ndarray


def check_count(count: float, name: str = "count") -> int:
    """Give a number of cells as int.

    Raises:
        TypeError: it is no number, or true or false.
        ValueError: it is below 0 or not whole.
    """
    if isinstance(count, bool | np.bool_) or not isinstance(count, int | float | np.integer | np.floating):
        raise TypeError(f"`{name}` must be a number of cells. Received: {count!r}")
    if not math.isfinite(count) or count < 0 or count != int(count):
        raise ValueError(f"`{name}` must be a whole number of cells, 0 or more. Received: {count!r}")
    return int(count)


def check_confidence(confidence: float) -> float:
    """Refuse a confidence outside (0, 1) with ValueError."""
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must lie in (0, 1). Received: {confidence!r}")
    return confidence


def check_positive(value: float, name: str, unit: str) -> float:
    """Refuse what is no finite number above 0 with ValueError."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"`{name}` must be a finite number above 0 ({unit}). Received: {value!r}")
    return float(value)


def poisson_interval(count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Exact interval of the mean number of cells in samples like this one, which a count is one draw of.

    It never covers less than ``confidence``. It says how much chance alone moves the count: not whether the cells are
    CTCs, nor how many were lost before.

    Args:
        count: cells counted.
        confidence: in (0, 1).

    Returns:
        ``(low, high)``, cells; the lower end of a count of 0 is 0.

    Raises:
        TypeError, ValueError: an argument out of range.

    Source: Garwood, Biometrika 28 (1936) 437, by quantiles of chi-squared.
    """
    count = check_count(count)
    tail = (1 - check_confidence(confidence)) / 2
    low = 0.0 if count == 0 else float(chi2.ppf(tail, 2 * count)) / 2
    return low, float(chi2.ppf(1 - tail, 2 * count + 2)) / 2


def count_estimate(count: int, confidence: float = CONFIDENCE) -> Estimate:
    """A count with its exact Poisson interval (``poisson_interval``)."""
    low, high = poisson_interval(count, confidence)
    return Estimate(float(count), low, high, confidence, GARWOOD)


def poisson_draws(count: int, rng: np.random.Generator, n_draws: int = N_DRAWS) -> Draws:
    """Confidence draws of a Poisson mean; their quantiles are the ends of ``poisson_interval``."""
    low = rng.standard_gamma(count, n_draws) if count else np.zeros(n_draws)
    return Draws(low, rng.standard_gamma(count + 1, n_draws))


def binomial_draws(k: int, n: int, rng: np.random.Generator, n_draws: int = N_DRAWS) -> Draws:
    """Confidence draws of a proportion; their quantiles are the ends of Clopper and Pearson's interval."""
    low = rng.beta(k, n - k + 1, n_draws) if k else np.zeros(n_draws)
    return Draws(low, rng.beta(k + 1, n - k, n_draws) if k < n else np.ones(n_draws))


def interval_of(draws: Draws, confidence: float) -> tuple[float, float]:
    """Ends of the interval: the lower tail of the lower draws, the upper tail of the upper ones."""
    tail = (1 - check_confidence(confidence)) / 2
    # `lower` and `higher` take a draw as it is: between a finite one and infinity there is nothing to interpolate.
    low = float(np.quantile(draws.low, tail, method="lower"))
    return low, float(np.quantile(draws.high, 1 - tail, method="higher"))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
