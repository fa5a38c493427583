"""CTCs per mL of blood."""

from __future__ import annotations

import numpy as np

from ctc_mm.counting.estimates import (
    CONFIDENCE,
    GARWOOD,
    N_DRAWS,
    SEED,
    Draws,
    Estimate,
    check_count,
    check_positive,
    count_estimate,
    interval_of,
    poisson_draws,
)
from ctc_mm.counting.spike_in import KNOWN, Recovery, known_recovery


def per_ml(
    count: int,
    blood_ml: float,
    area_share: float = 1.0,
    recovery: Recovery | float | None = None,
    *,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
    n_draws: int = N_DRAWS,
) -> Estimate:
    """Cells per mL of blood: the count over the blood that was looked at and the share of cells that is found.

    Args:
        count: cells counted.
        blood_ml: blood that the slide (or all slides of a patient) stands for, mL.
        area_share: share of it that was looked at, in (0, 1].
        recovery: share of cells that is found, of ``recovery_line`` or given; its uncertainty is carried into the
            interval. None: not corrected, so the number is of cells found.
        confidence: of the interval.
        seed: of the draws; the same numbers give the same interval.
        n_draws: their number, where the recovery is uncertain.

    Raises:
        TypeError, ValueError: a number out of range.

    Source: without the recovery's uncertainty Garwood (1936), divided by the volume. With that of an exact spike-in
    line, the ratio of two Poisson means: Przyborowski and Wilenski, Biometrika 31 (1940) 313; the draws of
    ``estimates`` give the same interval, and carry the other kinds of uncertainty alike.
    """
    count = check_count(count)
    volume = check_positive(blood_ml, "blood_ml", "mL of blood") * check_share(area_share)
    if recovery is not None and not isinstance(recovery, Recovery):
        recovery = known_recovery(recovery)
    if recovery is None or recovery.kind == KNOWN:
        factor = 1 / volume if recovery is None else 1 / (volume * recovery.value)
        return count_estimate(count, confidence).scaled(factor)
    rng = np.random.default_rng(seed)
    cells, share = poisson_draws(count, rng, n_draws), recovery.draws(rng, n_draws)
    with np.errstate(divide="ignore"):
        # A draw in which nothing is recovered says that any number of cells may have been there.
        high = np.where(share.low > 0, cells.high / np.where(share.low > 0, share.low, 1), np.inf)
        draws = Draws(cells.low / share.high, high)
    low, high_end = interval_of(draws, confidence)
    method = f"{GARWOOD} with the recovery's uncertainty ({recovery.kind}) carried through by {n_draws} draws"
    return Estimate(count / (volume * recovery.value), low / volume, high_end / volume, confidence, method)


def check_share(area_share: float) -> float:
    """Refuse a share outside (0, 1] with ValueError."""
    if not 0 < area_share <= 1:
        raise ValueError(
            f"`area_share` must lie in (0, 1]. Received: {area_share!r}; nothing was looked at where it is 0"
        )
    return float(area_share)
