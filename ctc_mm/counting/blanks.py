"""Limit of blank and limit of detection, from samples that are known to hold no CTC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import chi2, nbinom, norm

from ctc_mm.counting.estimates import check_count, check_positive

ALPHA = BETA = 0.05
# CLSI EP17-A2 wants at least 60 results of blanks before their rank gives the 95th percentile.
NONPARAMETRIC_FROM = 60
# Blanks that differ in volume by more than this cannot be ranked together.
SAME_EXPOSURE = 1.1
# Blanks scatter more than Poisson counts do where chance alone would do it in fewer than this share of cases.
OVERDISPERSION_P = 0.05

POISSON, NEGATIVE_BINOMIAL, NONPARAMETRIC = "poisson", "negative_binomial", "nonparametric"
Method = Literal["auto", "poisson", "negative_binomial", "nonparametric"]

_SOURCES = {
    POISSON: "prediction limit of a Poisson count given the blanks (Nelson 1970; Hahn and Meeker 1991, chapter 7)",
    NEGATIVE_BINOMIAL: "blanks scatter more than Poisson counts do: percentile of a negative binomial of their mean "
    "and variance, the variance times 1 + 1/n for the mean's own uncertainty",
    NONPARAMETRIC: "percentile of the blanks by rank, nonparametric (CLSI EP17-A2; Armbruster and Pry 2008)",
}


@dataclass(frozen=True)
class LimitOfBlank:
    """Highest count that a sample without CTCs is expected to give.

    Attributes:
        limit: cells; a count above it is not expected of a blank in more than ``alpha`` of samples.
        alpha: error of the first kind.
        method: ``poisson``, ``negative_binomial`` or ``nonparametric``.
        source: the method in words, with its source.
        n_blanks: number of blanks; ``mean``: their cells per sample of ``exposure``; ``total``: cells in all of them.
        exposure: size of the sample that the limit is of, in the unit of the blanks' exposures (mL, or slides).
        dispersion: Pearson's chi-squared over its degrees of freedom, 1 for Poisson counts; None where undefined.
        classic: mean + 1.645 SD of the blanks, for comparison with other labs; None for one blank.
        note: what a reader should know, or "".
    """

    limit: int
    alpha: float
    method: str
    source: str
    n_blanks: int
    mean: float
    total: int
    exposure: float
    dispersion: float | None
    classic: float | None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class LimitOfDetection:
    """Smallest mean count that is told from a blank.

    Attributes:
        limit: cells, as they are counted (false ones among them): samples of this mean are above the limit of blank in
            all but ``beta`` of cases.
        beta: error of the second kind.
        method: ``poisson`` or ``low_level_samples``.
        source: the method in words, with its source.
        note: what a reader should know, or "".
    """

    limit: float
    beta: float
    method: str
    source: str
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def limit_of_blank(
    counts: Sequence[int],
    exposures: Sequence[float] | None = None,
    exposure: float | None = None,
    *,
    method: Method = "auto",
    alpha: float = ALPHA,
) -> LimitOfBlank:
    """Limit of blank for a sample of a given size.

    The textbook form, mean + 1.645 SD, takes the counts for normal and the mean for known; with counts of 0 and 1 in a
    handful of blanks neither holds (five blanks without a cell would give a limit of 0). So ``auto`` takes

    - the rank of the blanks, from 60 blanks of one size on,
    - else, where they scatter more than Poisson counts (chi-squared, p < 0.05), a negative binomial,
    - else the Poisson prediction limit: the smallest c such that a further blank exceeds c in at most ``alpha`` of
      cases, whatever the true rate, the few blanks' own uncertainty included.

    Scatter between blanks cannot be seen in three to five of them: where rates truly differ from blank to blank as much
    as their mean, simulated blanks exceeded such limits in up to 14 % of cases, those of 20 blanks in 6 %.

    Args:
        counts: cells called CTC in each blank.
        exposures: size of each blank (mL of blood, share of a slide); None: all alike.
        exposure: size of the sample that the limit is for, in the same unit; None: the blanks' mean.
        method: ``auto``, ``poisson``, ``negative_binomial`` or ``nonparametric``.
        alpha: error of the first kind.

    Raises:
        TypeError, ValueError: no blank, a number out of range, a method that these blanks do not allow.

    Source: Armbruster and Pry, Clin. Biochem. Rev. 29 Suppl 1 (2008) S49; CLSI EP17-A2 (2012); for the prediction limit
    Nelson, IEEE Trans. Reliability R-19 (1970) 42, and Hahn and Meeker, Statistical Intervals (1991), chapter 7.
    """
    blanks = [check_count(count, "counts") for count in counts]
    sizes = _check_exposures(len(blanks), exposures)
    wanted = check_positive(float(np.mean(sizes)) if exposure is None else exposure, "exposure", "mL, or slides")
    _check_error("alpha", alpha)
    dispersion, overdispersed = _dispersion(blanks, sizes)
    chosen, note = _choose(method, len(blanks), [*sizes, wanted], overdispersed)
    limit = {
        POISSON: lambda: _poisson_limit(sum(blanks), sum(sizes), wanted, alpha),
        NEGATIVE_BINOMIAL: lambda: _negative_binomial_limit(blanks, sizes, wanted, alpha),
        NONPARAMETRIC: lambda: _rank_limit(blanks, alpha),
    }[chosen]()
    scaled = np.array(blanks) / np.array(sizes) * wanted
    classic = float(scaled.mean() + norm.ppf(1 - alpha) * scaled.std(ddof=1)) if len(blanks) > 1 else None
    return LimitOfBlank(
        limit, alpha, chosen, _SOURCES[chosen], len(blanks), sum(blanks) / sum(sizes) * wanted, sum(blanks), wanted,
        dispersion, classic, note,
    )  # fmt: skip


def limit_of_detection(
    blank: LimitOfBlank, low_samples: Sequence[Sequence[int]] = (), *, beta: float = BETA
) -> LimitOfDetection:
    """Limit of detection that goes with a limit of blank.

    Args:
        blank: the limit of blank.
        low_samples: repeated counts of samples with few cells, a list a sample; with at least two counts in one of them
            the limit is EP17's parametric one, from their pooled SD. Without: Poisson, the mean at which a count does
            not exceed the limit of blank in ``beta`` of cases.
        beta: error of the second kind.

    Raises:
        TypeError, ValueError: a number out of range, repeats too few to have an SD.

    Source: Armbruster and Pry (2008); CLSI EP17-A2, LoD = LoB + c * SD, c = 1.645 / (1 - 1 / (4 * (L - J))) with L
    counts of J samples; for Poisson counts Currie, Anal. Chem. 40 (1968) 586, by chi-squared (Garwood 1936).
    """
    _check_error("beta", beta)
    if not low_samples:
        limit = float(chi2.ppf(1 - beta, 2 * (blank.limit + 1))) / 2
        source = "mean of a Poisson count that exceeds the limit of blank in 95 % of samples (Currie 1968)"
        return LimitOfDetection(limit, beta, POISSON, source)
    repeats = [[check_count(count, "low_samples") for count in sample] for sample in low_samples]
    degrees = sum(len(sample) - 1 for sample in repeats)
    if not all(repeats) or degrees < 1:
        raise ValueError(f"`low_samples` must hold at least two counts of one sample. Received: {low_samples!r}")
    pooled = sum(float(np.var(sample)) * len(sample) for sample in repeats) / degrees
    factor = float(norm.ppf(1 - beta)) / (1 - 1 / (4 * degrees))
    return LimitOfDetection(
        blank.limit + factor * math.sqrt(pooled), beta, "low_level_samples",
        "limit of blank + c * pooled SD of low-level samples (CLSI EP17-A2; Armbruster and Pry 2008)",
        f"{sum(map(len, repeats))} counts of {len(repeats)} samples; EP17 wants 60" if degrees < 60 else "",
    )  # fmt: skip


def _check_exposures(n_blanks: int, exposures: Sequence[float] | None) -> list[float]:
    if n_blanks < 1:
        raise ValueError("`counts` must hold at least one blank. Received: none")
    if exposures is None:
        return [1.0] * n_blanks
    if len(exposures) != n_blanks:
        raise ValueError(f"`exposures` must have one value a blank, {n_blanks}. Received: {len(exposures)}")
    return [check_positive(size, "exposures", "mL, or slides") for size in exposures]


def _check_error(name: str, value: float) -> None:
    if not 0 < value < 0.5:
        raise ValueError(f"`{name}` must lie in (0, 0.5). Received: {value!r}")


def _dispersion(counts: Sequence[int], sizes: Sequence[float]) -> tuple[float | None, bool]:
    """Pearson's chi-squared over its degrees of freedom, and whether it is larger than chance explains."""
    if len(counts) < 2 or not sum(counts):
        return None, False
    means = np.array(sizes) * (sum(counts) / sum(sizes))
    chi_squared, degrees = float(((np.array(counts) - means) ** 2 / means).sum()), len(counts) - 1
    return chi_squared / degrees, bool(chi2.sf(chi_squared, degrees) < OVERDISPERSION_P)


def _choose(method: Method, n_blanks: int, sizes: Sequence[float], overdispersed: bool) -> tuple[str, str]:
    alike = max(sizes) <= SAME_EXPOSURE * min(sizes)
    few = f"number of blanks: {n_blanks}; from {NONPARAMETRIC_FROM} on the limit needs no assumption (CLSI EP17-A2)"
    if method == "auto":
        if n_blanks >= NONPARAMETRIC_FROM and alike:
            return NONPARAMETRIC, ""
        note = few if n_blanks < NONPARAMETRIC_FROM else "blanks and sample differ in volume: they cannot be ranked"
        return (NEGATIVE_BINOMIAL if overdispersed else POISSON), note
    if method == NONPARAMETRIC and not (alike and n_blanks * (1 - ALPHA) + 0.5 <= n_blanks):
        raise ValueError(
            f"`method` 'nonparametric' needs at least 10 blanks of one volume. Received: {n_blanks} blanks"
        )
    if method == NEGATIVE_BINOMIAL and n_blanks < 2:
        raise ValueError("`method` 'negative_binomial' needs at least two blanks to see them scatter")
    if method not in _SOURCES:
        raise ValueError(f"`method` must be 'auto', {', '.join(map(repr, _SOURCES))}. Received: {method!r}")
    return method, few if n_blanks < NONPARAMETRIC_FROM else ""


def _poisson_limit(total: int, blanks_size: float, size: float, alpha: float) -> int:
    # A further count given the total of the blanks is binomial; summed up, that is this negative binomial.
    return int(nbinom.ppf(1 - alpha, total + 1, blanks_size / (blanks_size + size)))


def _negative_binomial_limit(counts: Sequence[int], sizes: Sequence[float], size: float, alpha: float) -> int:
    """The blanks' rates vary with a gamma distribution, whose variance is found by moments."""
    exposure, found = np.array(sizes), np.array(counts)
    rate = found.sum() / exposure.sum()
    between = float(((found - rate * exposure) ** 2 - rate * exposure).sum() / (exposure**2).sum())
    n = len(counts)
    mean, between = rate * size, max(between, 0.0) * n / (n - 1)
    variance = (mean + between * size * size) * (1 + 1 / n)
    if variance <= mean or mean == 0:
        return _poisson_limit(int(found.sum()), float(exposure.sum()), size, alpha)
    return int(nbinom.ppf(1 - alpha, mean * mean / (variance - mean), mean / variance))


def _rank_limit(counts: Sequence[int], alpha: float) -> int:
    """EP17: the value of rank 0.5 + (1 - alpha) * n, between two ranks interpolated; rounded up to a count."""
    rank = 0.5 + (1 - alpha) * len(counts)
    ordered, below = sorted(counts), math.floor(rank)
    lower, upper = ordered[below - 1], ordered[min(below, len(counts) - 1)]
    # Rounded up: only whole counts occur, and one between the two ranks lies above the lower of them.
    return math.ceil(lower + (rank - below) * (upper - lower) - 1e-9)
