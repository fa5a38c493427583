"""Limits of blank and of detection, against the textbook's numbers and by simulation."""

import numpy as np
import pytest
from scipy.stats import nbinom, poisson

from ctc_mm.counting.statistics import limit_of_blank, limit_of_detection


def test_blanks_without_a_cell_do_not_promise_that_there_is_never_one():
    # mean + 1.645 SD would say 0.
    limit = limit_of_blank([0, 0, 0, 0, 0])
    assert limit.classic == 0
    # One further blank has to be above it in at most 5 of 100 cases: (1/6)^2 < 0.05 < 1/6.
    assert (limit.limit, limit.method) == (1, "poisson")
    assert limit.to_json()["n_blanks"] == 5


def test_one_blank_says_little():
    assert limit_of_blank([0]).limit == 4  # (1/2)^5 < 0.05 < (1/2)^4
    assert limit_of_blank([0]).classic is None


def test_many_blanks_come_near_the_known_rate():
    counts = np.random.default_rng(0).poisson(2.0, 5000).tolist()
    assert limit_of_blank(counts, method="poisson").limit == poisson.ppf(0.95, 2.0)


def test_classic_limit_is_the_textbook_one():
    counts = [1, 3, 2, 0, 4]
    assert limit_of_blank(counts).classic == pytest.approx(2 + 1.6449 * np.std(counts, ddof=1), abs=1e-3)


def test_limit_is_for_the_sample_that_is_asked_for():
    # Twice the blood of the blanks: twice the false cells.
    one, two = (limit_of_blank([2, 3, 1, 2, 2], exposure=exposure) for exposure in (1, 2))
    assert (one.mean, two.mean) == (2, 4)
    assert two.limit > one.limit
    # Ten cells in 5 mL in all are the same, however they are spread over the blanks.
    spread = limit_of_blank([5, 5], exposures=[2.5, 2.5], exposure=1)
    assert spread.limit == limit_of_blank([2, 2, 2, 2, 2], exposures=[1] * 5, exposure=1).limit


def test_rank_of_sixty_blanks():
    # CLSI EP17-A2: rank 0.5 + 0.95 * 60 = 57.5, halfway between the 57th and the 58th count.
    counts = [0] * 56 + [3, 5, 6, 7]
    limit = limit_of_blank(counts)
    assert (limit.method, limit.limit) == ("nonparametric", 4)
    assert "EP17" in limit.source
    assert limit_of_blank([0] * 57 + [3, 5, 9]).limit == 2  # between 0 and 3: only 2 and more lie above 1.5


def test_blanks_of_other_volumes_cannot_be_ranked():
    limit = limit_of_blank([1] * 60, exposures=[7.5] * 30 + [2.0] * 30)
    assert limit.method == "poisson"
    assert "differ in volume" in limit.note
    with pytest.raises(ValueError, match="of one volume"):
        limit_of_blank([1] * 60, exposures=[7.5] * 30 + [2.0] * 30, method="nonparametric")


def test_blanks_that_scatter_get_a_wider_limit():
    scattered = [0, 0, 12, 1, 0, 9, 0, 2]
    limit = limit_of_blank(scattered)
    assert limit.method == "negative_binomial"
    assert limit.dispersion > 3
    assert limit.limit > limit_of_blank(scattered, method="poisson").limit
    # By hand: variance of the rates plus that of the counts, times 1 + 1/n.
    mean, n = np.mean(scattered), len(scattered)
    variance = np.var(scattered, ddof=0) - mean  # of the rates, by moments; n / (n - 1) for the mean's own freedom
    variance = (mean + variance * n / (n - 1)) * (1 + 1 / n)
    assert limit.limit == nbinom.ppf(0.95, mean**2 / (variance - mean), mean / variance)


def exceeded(draw, n_blanks, n_runs=500):
    """Share of further blanks that lie above the limit of such blanks."""
    above = [draw(1)[0] > limit_of_blank(draw(n_blanks).tolist()).limit for _ in range(n_runs)]
    return np.mean(above)


@pytest.mark.parametrize("mean", [0.02, 0.3, 2, 10])
@pytest.mark.parametrize("n_blanks", [1, 4, 20])
def test_further_blank_seldom_exceeds_the_limit(mean, n_blanks):
    rng = np.random.default_rng(5)
    assert exceeded(lambda n: rng.poisson(mean, n), n_blanks) <= 0.06


@pytest.mark.parametrize("mean", [0.05, 1, 5])
def test_further_blank_seldom_exceeds_the_rank(mean):
    rng = np.random.default_rng(6)
    assert exceeded(lambda n: rng.poisson(mean, n), 60, 300) <= 0.07


def test_scattering_blanks_seldom_exceed_the_limit_once_there_are_enough_to_see_it():
    rng = np.random.default_rng(7)
    assert exceeded(lambda n: rng.poisson(rng.gamma(2, 1.5, n)), 20) <= 0.08


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"counts": []}, "at least one blank"),
        ({"counts": [0, -1]}, "`counts` must be a whole number"),
        ({"counts": [0, 1], "exposures": [1]}, "one value a blank"),
        ({"counts": [0, 1], "exposures": [1, 0]}, "`exposures` must be a finite number above 0"),
        ({"counts": [0, 1], "exposure": -1}, "`exposure`"),
        ({"counts": [0, 1], "method": "guess"}, "`method` must be"),
        ({"counts": [0, 1], "method": "nonparametric"}, "at least 10 blanks"),
        ({"counts": [4], "method": "negative_binomial"}, "at least two blanks"),
        ({"counts": [0, 1], "alpha": 0.7}, "`alpha` must lie in"),
    ],
)
def test_limit_of_blank_refuses(keywords, message):
    with pytest.raises(ValueError, match=message):
        limit_of_blank(**keywords)


def test_detection_over_a_limit_of_none():
    # Currie (1968): with no background the least detectable mean is ln 20 = 3.00.
    blank = limit_of_blank([0] * 30)
    assert blank.limit == 0
    assert limit_of_detection(blank).limit == pytest.approx(2.996, abs=1e-3)


@pytest.mark.parametrize("counts", [[0], [1, 0, 2], [3, 5, 4, 4]])
def test_samples_at_the_limit_of_detection_exceed_the_limit_of_blank(counts):
    blank = limit_of_blank(counts)
    detection = limit_of_detection(blank)
    assert poisson.sf(blank.limit, detection.limit) == pytest.approx(0.95)


def test_detection_by_samples_of_few_cells():
    blank = limit_of_blank([0, 1, 0, 0, 2])
    samples = [[4, 6, 5], [7, 3, 5]]
    pooled = np.sqrt((2 * np.var(samples[0], ddof=1) + 2 * np.var(samples[1], ddof=1)) / 4)
    found = limit_of_detection(blank, samples)
    assert found.limit == pytest.approx(blank.limit + 1.6449 / (1 - 1 / 16) * pooled, abs=1e-3)
    assert "6 counts of 2 samples" in found.note


@pytest.mark.parametrize("samples", [[[4]], [[4], [5]], [[4, 5], []]])
def test_detection_refuses_samples_without_repeats(samples):
    with pytest.raises(ValueError, match="`low_samples` must hold at least two counts"):
        limit_of_detection(limit_of_blank([0, 1]), samples)
