"""The count corrected for what the classifier or detector is known to miss and to invent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctc_mm.counting.estimates import (
    CONFIDENCE,
    N_DRAWS,
    SEED,
    Draws,
    Estimate,
    binomial_draws,
    check_count,
    check_positive,
    interval_of,
    poisson_draws,
    poisson_interval,
)


@dataclass(frozen=True)
class Rate:
    """``k`` of ``n`` known cells: hits of CTCs (sensitivity), or CTC verdicts on other cells (false-positive rate).

    Raises:
        TypeError, ValueError: no cell, or ``k`` not in 0..n.
    """

    k: int
    n: int

    def __post_init__(self) -> None:
        check_count(self.k, "k")
        if not 0 <= self.k <= check_count(self.n, "n") or self.n < 1:
            raise ValueError(f"a rate is of at least one cell, `k` in 0..n. Received: k={self.k}, n={self.n}")

    @property
    def value(self) -> float:
        """The proportion."""
        return self.k / self.n


@dataclass(frozen=True)
class FalsePerArea:
    """Objects wrongly called CTC in test images of known truth.

    Attributes:
        count: false CTCs.
        area_px: area of those images in pixels of the model.
    """

    count: int
    area_px: float

    def __post_init__(self) -> None:
        check_count(self.count, "count")
        check_positive(self.area_px, "area_px", "pixels of the test images")


def corrected_count(
    count: int,
    sensitivity: Rate,
    false_positives: Rate | FalsePerArea,
    *,
    n_cells: int | None = None,
    area_px: float | None = None,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
    n_draws: int = N_DRAWS,
) -> Estimate:
    """CTCs that were there to be found, from those found: less the false ones, over the sensitivity.

    A classifier judges ``n_cells`` cells and errs on each other cell at its false-positive rate F, so the corrected
    count is ``(count - F * n_cells) / (S - F)``: Rogan and Gladen, Am. J. Epidemiol. 107 (1978) 71, in cells. A
    detector looks at an area and invents CTCs at a rate per area, so it is ``(count - false) / S``. Both are kept
    within 0 and, for a classifier, ``n_cells``.

    The interval is of the mean over samples like this one, as that of ``poisson_interval``: the count's own chance
    (Poisson) and that of the test sets behind S and F (binomial, or Poisson per area) are carried through by seeded
    draws, each end from the draws on its side (``estimates``), so that it is on the safe side. The upper end is never
    below that of a count of 0 without false positives: fewer cells than the test leads one to expect by chance do not
    prove that there was none (Read, J. Phys. G 28 (2002) 2693, on the same problem in particle physics). Test set and
    slide are taken for alike; where they are not, no interval covers that.

    Args:
        count: cells called CTC.
        sensitivity: hits of known CTCs.
        false_positives: of known other cells, or by area.
        n_cells: cells that the classifier judged, CTCs among them; with a ``Rate``.
        area_px: area that the detector looked at, in pixels of the model; with ``FalsePerArea``.
        confidence: of the interval.
        seed: of the draws.
        n_draws: their number.

    Raises:
        TypeError, ValueError: a number out of range; ``n_cells`` or ``area_px`` missing or below the count; a
            sensitivity of 0 or not above the false-positive rate, with which no count can be corrected.
    """
    count = check_count(count)
    n_cells = _check_exposure(count, false_positives, n_cells, area_px)
    false_rate = false_positives.value if isinstance(false_positives, Rate) else 0.0
    if sensitivity.value <= false_rate:
        raise ValueError(
            f"`sensitivity` ({sensitivity.k}/{sensitivity.n}) must be above 0 and above the false-positive rate "
            f"({false_rate:.3g}); a model that is not cannot be corrected for"
        )
    rng = np.random.default_rng(seed)
    found, seen = poisson_draws(count, rng, n_draws), binomial_draws(sensitivity.k, sensitivity.n, rng, n_draws)
    if isinstance(false_positives, Rate):
        wrong = binomial_draws(false_positives.k, false_positives.n, rng, n_draws)
        value = _rogan_gladen(count, sensitivity.value, false_rate, n_cells)
        draws = Draws(
            _rogan_gladen(found.low, seen.high, wrong.high, n_cells),
            _rogan_gladen(found.high, seen.low, wrong.low, n_cells),
        )
        name = "Rogan and Gladen 1978"
    else:
        scale = float(area_px) / false_positives.area_px
        wrong = poisson_draws(false_positives.count, rng, n_draws)
        value = max(count - scale * false_positives.count, 0.0) / sensitivity.value
        draws = Draws(
            np.maximum(found.low - scale * wrong.high, 0) / seen.high,
            np.maximum(found.high - scale * wrong.low, 0) / seen.low,
        )
        name = "false positives per area subtracted, divided by the sensitivity"
    low, high_end = interval_of(draws, confidence)
    of_none = poisson_interval(0, confidence)[1] / sensitivity.value
    high_end = max(high_end, of_none if isinstance(false_positives, FalsePerArea) else min(of_none, float(n_cells)))
    method = f"{name}; uncertainty of count, sensitivity and false positives by {n_draws} draws"
    return Estimate(float(value), min(low, float(value)), max(high_end, float(value)), confidence, method)


def _check_exposure(
    count: int, false_positives: Rate | FalsePerArea, n_cells: int | None, area_px: float | None
) -> int:
    if isinstance(false_positives, Rate):
        if n_cells is None or check_count(n_cells, "n_cells") < count:
            raise ValueError(f"`n_cells` (cells judged) must be at least the count of {count}. Received: {n_cells!r}")
        return int(n_cells)
    if area_px is None:
        raise ValueError("`area_px` must be given with false positives per area. Received: None")
    check_positive(area_px, "area_px", "pixels looked at")
    return 0


def _rogan_gladen(
    count: float | np.ndarray, sensitivity: float | np.ndarray, false_rate: float | np.ndarray, n_cells: int
) -> np.ndarray:
    """Corrected counts within 0 and ``n_cells``; ``n_cells`` where a draw leaves nothing to tell the classes by."""
    gap = np.asarray(sensitivity - false_rate, np.float64)
    safe = np.where(gap > 0, gap, 1.0)
    corrected = np.clip((count - false_rate * n_cells) / safe, 0, n_cells)
    return np.where(gap > 0, corrected, float(n_cells))
