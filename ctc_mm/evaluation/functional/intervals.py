"""Exact confidence interval of a proportion."""

from __future__ import annotations

import math

from scipy.stats import beta


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper-Pearson) interval of ``k`` successes in ``n`` independent trials.

    It never covers less than ``confidence``, also for few cells and for rates of 0 and 1. Cells of one patient are
    not independent: where patients differ, the bootstrap by group is the honest one.

    Args:
        k: successes, 0..n.
        n: trials.
        confidence: in (0, 1).

    Returns:
        ``(low, high)`` in [0, 1]; ``(nan, nan)`` for ``n = 0``.

    Raises:
        ValueError: an argument out of range.

    Source: Clopper and Pearson, Biometrika 26 (1934).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must lie in (0, 1). Received: {confidence}")
    if not 0 <= k <= n:
        raise ValueError(f"`k` must lie in 0..n. Received: k={k}, n={n}")
    if n == 0:
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(1 - tail, k + 1, n - k))
    return low, high
