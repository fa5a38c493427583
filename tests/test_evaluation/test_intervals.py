import math

import pytest
from scipy.stats import binom, binomtest

from ctc_mm.evaluation.functional.intervals import clopper_pearson


def test_no_trial_has_no_interval():
    assert all(math.isnan(end) for end in clopper_pearson(0, 0))


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # Exact 95 % limits as textbooks print them (Altman, Practical Statistics; Zar, table B.26).
        (0, 10, 0.0, 0.3085),
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (10, 10, 0.6915, 1.0),
        (0, 1, 0.0, 0.9750),
        (1, 1, 0.0250, 1.0),
        (81, 263, 0.2527, 0.3676),  # Newcombe, Stat. Med. 17 (1998), table I
        (15, 148, 0.0578, 0.1617),
        (1, 29, 0.0009, 0.1776),
    ],
)
def test_published_limits(k, n, low, high):
    assert clopper_pearson(k, n) == pytest.approx((low, high), abs=6e-5)


def test_agrees_with_scipy_at_other_confidences():
    for confidence in (0.8, 0.99):
        expected = binomtest(84, 95).proportion_ci(confidence, method="exact")
        assert clopper_pearson(84, 95, confidence) == pytest.approx((expected.low, expected.high))


def test_it_covers_at_least_what_it_promises():
    n, p = 20, 0.07
    covering = [k for k in range(n + 1) if clopper_pearson(k, n)[0] <= p <= clopper_pearson(k, n)[1]]
    assert 0.95 <= sum(binom.pmf(k, n, p) for k in covering) < 1


@pytest.mark.parametrize(("k", "n", "confidence"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 0.0)])
def test_impossible_arguments(k, n, confidence):
    with pytest.raises(ValueError, match="Received"):
        clopper_pearson(k, n, confidence)
