"""Intervals of counts, concentrations, recoveries; each against published tables or theory, and by simulation."""

import math

import numpy as np
import pytest
from scipy.stats import beta, poisson

from ctc_mm.counting.estimates import Draws, binomial_draws, interval_of, poisson_draws
from ctc_mm.counting.records import CountedCell
from ctc_mm.counting.spike_in import EXACT, QUASI
from ctc_mm.counting.statistics import (
    count_estimate,
    known_recovery,
    per_ml,
    poisson_interval,
    recovery_line,
    size_distribution,
)
from ctc_mm.evaluation.functional.intervals import clopper_pearson

# Coverage is checked with fewer draws than a count takes: what they lack in precision is well within the tolerance.
FEW = 2000


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # Garwood (1936), as in every table of Poisson limits.
    [(0, 0, 3.69), (1, 0.03, 5.57), (5, 1.62, 11.67), (10, 4.80, 18.39), (100, 81.36, 121.63)],
)
def test_poisson_interval_is_that_of_the_tables(count, low, high):
    assert poisson_interval(count) == pytest.approx((low, high), abs=0.006)


@pytest.mark.parametrize("count", [0, 1, 7, 250])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_poisson_interval_ends_where_the_count_becomes_unlikely(count, confidence):
    low, high = poisson_interval(count, confidence)
    tail = (1 - confidence) / 2
    assert poisson.cdf(count, high) == pytest.approx(tail)
    assert poisson.sf(count - 1, low) == pytest.approx(tail if count else 1)


@pytest.mark.parametrize("mean", [0.1, 1, 3, 20])
def test_poisson_interval_covers_the_mean(mean):
    # Exactly, by adding up the counts that can occur.
    counts = np.arange(200)
    inside = [low <= mean <= high for low, high in map(poisson_interval, counts.tolist())]
    assert poisson.pmf(counts, mean)[inside].sum() >= 0.95


@pytest.mark.parametrize("wrong", [-1, 1.5, math.nan, math.inf])
def test_count_has_to_be_a_number_of_cells(wrong):
    with pytest.raises(ValueError, match=r"`count` must be a whole number of cells"):
        poisson_interval(wrong)


def test_count_has_to_be_a_number_at_all():
    with pytest.raises(TypeError, match="`count`"):
        poisson_interval(True)
    with pytest.raises(TypeError, match="`count`"):
        poisson_interval("3")
    with pytest.raises(ValueError, match="`confidence` must lie in"):
        poisson_interval(3, 1.0)
    assert poisson_interval(np.int64(5)) == poisson_interval(5)


def test_draws_end_where_the_exact_intervals_do():
    rng = np.random.default_rng(0)
    assert interval_of(poisson_draws(7, rng), 0.95) == pytest.approx(poisson_interval(7), rel=0.01)
    assert interval_of(poisson_draws(0, rng), 0.95) == pytest.approx(poisson_interval(0), rel=0.01)
    assert interval_of(binomial_draws(9, 10, rng), 0.95) == pytest.approx(clopper_pearson(9, 10), rel=0.01)
    assert interval_of(binomial_draws(10, 10, rng), 0.95)[1] == 1


def test_interval_of_takes_draws_as_they_are():
    draws = np.array([0.0, 1.0, math.inf])
    assert interval_of(Draws(draws, draws), 0.9) == (0.0, math.inf)


def test_nothing_found_gives_no_cell_per_ml_and_an_upper_end():
    found = per_ml(0, 7.5)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(3.6889 / 7.5, abs=1e-4)


def test_per_ml_is_the_count_over_the_blood_that_was_seen():
    found = per_ml(6, 7.5, area_share=0.8, recovery=0.5)
    assert found.value == pytest.approx(6 / (7.5 * 0.8 * 0.5))
    assert (found.low, found.high) == pytest.approx([end / 3 for end in poisson_interval(6)])


@pytest.mark.parametrize("count", [1, 8, 60])
def test_uncertain_recovery_gives_the_exact_interval_of_a_ratio(count):
    # Przyborowski and Wilenski (1940): given the sum of two Poisson counts, one of them is binomial.
    recovery = recovery_line([100], [70])
    low, high = (beta.ppf(p, a, b) for p, a, b in ((0.025, count, 71), (0.975, count + 1, 70)))
    found = per_ml(count, 10, recovery=recovery)
    assert (found.low, found.high) == pytest.approx([10 * p / (1 - p) for p in (low, high)], rel=0.015)
    assert found.value == pytest.approx(count / 7)


def test_recovery_uncertainty_widens_the_interval():
    sure, unsure = per_ml(50, 10, recovery=0.7), per_ml(50, 10, recovery=recovery_line([30], [21]))
    assert unsure.low < sure.low
    assert unsure.high > sure.high


@pytest.mark.parametrize("per_ml_true", [0.4, 3, 20])
def test_concentration_interval_covers_it(per_ml_true):
    rng = np.random.default_rng(1)
    spiked, share = np.array([20.0, 50, 100]), 0.7
    inside = []
    for _ in range(300):
        recovery = recovery_line(spiked, rng.poisson(spiked * share), n_draws=FEW)
        found = per_ml(int(rng.poisson(per_ml_true * 7.5 * 0.9 * share)), 7.5, 0.9, recovery, n_draws=FEW)
        inside.append(found.low <= per_ml_true <= found.high)
    assert np.mean(inside) >= 0.94


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"blood_ml": 0}, "`blood_ml` must be a finite number above 0"),
        ({"blood_ml": -2.0}, "`blood_ml`"),
        ({"area_share": 0}, "`area_share` must lie in"),
        ({"area_share": 1.2}, "`area_share` must lie in"),
        ({"recovery": 80}, "give 0.8 for 80 %"),
        ({"recovery": 0}, "`recovery` must be a finite number above 0"),
    ],
)
def test_concentration_refuses_what_cannot_be(keywords, message):
    with pytest.raises(ValueError, match=message):
        per_ml(**{"count": 3, "blood_ml": 7.5, **keywords})


def test_same_numbers_same_interval():
    recovery = recovery_line([100, 50], [70, 40])
    assert per_ml(9, 7.5, 1.0, recovery) == per_ml(9, 7.5, 1.0, recovery)


def test_recovery_is_the_ratio_of_the_sums():
    line = recovery_line([10, 50, 100], [8, 41, 79])
    assert line.value == pytest.approx(128 / 160)
    assert line.kind == EXACT
    assert (line.estimate.low, line.estimate.high) == pytest.approx([end / 160 for end in poisson_interval(128)])
    assert line.dispersion < 1


def test_scattered_spike_ins_get_a_wider_interval():
    narrow, wide = recovery_line([100] * 4, [70, 72, 68, 70]), recovery_line([100] * 4, [40, 100, 50, 90])
    assert narrow.value == wide.value
    assert wide.kind == QUASI
    assert "scatter" in wide.note
    assert wide.estimate.low < narrow.estimate.low
    assert wide.estimate.high > narrow.estimate.high


@pytest.mark.filterwarnings("error")
def test_two_samples_that_disagree_leave_the_recovery_open():
    line = recovery_line([100, 100], [5, 180])
    assert line.estimate.low < 0.01
    assert line.estimate.high > 1.5
    assert per_ml(10, 7.5, recovery=line).low >= 0


def test_blanks_are_taken_off_the_spike_ins():
    line = recovery_line([100, 100], [80, 84], blank_counts=[2, 4, 3])
    assert line.value == pytest.approx((164 - 2 * 3) / 200)
    assert line.background == pytest.approx(6)
    assert line.estimate.low < line.value < line.estimate.high
    # Blanks of half the volume stand for half the samples' background.
    halves = recovery_line([100, 100], [80, 84], blank_counts=[2, 4, 3], blank_exposures=[0.5] * 3)
    assert halves.value == pytest.approx((164 - 4 * 3) / 200)


# One sample cannot show how much samples scatter; its note says so.
@pytest.mark.parametrize(
    ("variance", "n", "least"), [(1, 1, 0.94), (1, 3, 0.94), (1, 6, 0.94), (3, 3, 0.9), (3, 6, 0.9)]
)
def test_recovery_interval_covers_it(variance, n, least):
    rng = np.random.default_rng(3)
    mean, inside = np.full(n, 70.0), []
    for _ in range(400):
        scattered = rng.negative_binomial(mean / (variance - 1 or 1), 1 / variance) if variance > 1 else None
        found = rng.poisson(mean) if scattered is None else scattered
        line = recovery_line([100.0] * n, found.tolist(), n_draws=FEW).estimate
        inside.append(line.low <= 0.7 <= line.high)
    assert np.mean(inside) >= least


def test_recovery_with_blanks_covers_it():
    rng = np.random.default_rng(4)
    inside = []
    for _ in range(300):
        found, blanks = rng.poisson([22.0, 42, 82]), rng.poisson(2.0, 4)
        line = recovery_line([25, 50, 100], found.tolist(), blank_counts=blanks.tolist(), n_draws=FEW).estimate
        inside.append(line.low <= 0.8 <= line.high)
    assert np.mean(inside) >= 0.94


def test_one_spike_in_says_what_it_cannot_know():
    assert "one spike-in sample" in recovery_line([100], [70]).note


@pytest.mark.parametrize(
    ("spiked", "found", "keywords", "message"),
    [
        ([], [], {}, "at least one"),
        ([10, 20], [5], {}, "one value a sample"),
        ([0, 0], [1, 2], {}, "above 0 in a sample"),
        ([10, -1], [1, 2], {}, "0 or more"),
        ([10], [-1], {}, "`found` must be a whole number"),
        ([10, 50], [0, 0], {}, "no added cell was found"),
        ([10], [3], {"blank_counts": [4, 3]}, "blanks lead one to expect 3.5"),
        ([10], [3], {"exposures": [1, 2]}, "one value a sample"),
    ],
)
def test_recovery_refuses_samples_that_give_none(spiked, found, keywords, message):
    with pytest.raises(ValueError, match=message):
        recovery_line(spiked, found, **keywords)


def test_known_recovery_carries_its_interval():
    given = known_recovery(0.8, (0.7, 0.9))
    low, high = interval_of(given.draws(np.random.default_rng(0)), 0.95)
    assert (low, high) == pytest.approx((0.7, 0.9), rel=0.01)
    with pytest.raises(ValueError, match="must hold it"):
        known_recovery(0.8, (0.85, 0.9))


def test_estimates_are_plain_json():
    assert count_estimate(2).to_json()["low"] == pytest.approx(0.2422, abs=1e-4)
    assert per_ml(2, 1, recovery=known_recovery(0.5, (0.1, 1.4))).to_json()["high"] < math.inf


def cell(name, diameter_um):
    return CountedCell((0, 0, 9, 9), name, None, diameter_um)


def test_sizes_of_no_cell():
    empty = size_distribution([], ["CTC", "WBC"])
    assert empty["edges_um"] == []
    assert empty["by_class"]["CTC"] == {
        "n": 0, "n_unknown": 0, "mean_um": None, "sd_um": None, "min_um": None, "q25_um": None, "median_um": None,
        "q75_um": None, "max_um": None, "histogram": [],
    }  # fmt: skip


def test_sizes_by_class_share_their_bins():
    cells = [cell("CTC", 15.5), cell("CTC", 16.0), cell("WBC", 8.2), cell("WBC", None), cell("CTC", 18.0)]
    sizes = size_distribution(cells, ["CTC", "WBC"])
    assert sizes["edges_um"] == [float(edge) for edge in range(8, 20)]
    ctc, wbc = sizes["by_class"]["CTC"], sizes["by_class"]["WBC"]
    assert (ctc["n"], ctc["median_um"], ctc["mean_um"]) == (3, 16.0, 16.5)
    assert ctc["sd_um"] == pytest.approx(np.std([15.5, 16, 18], ddof=1))
    assert ctc["histogram"] == [0] * 7 + [1, 1, 0, 1]  # 16.0 belongs to the bin that begins there
    assert (wbc["n"], wbc["n_unknown"], wbc["sd_um"]) == (1, 1, None)
    assert sum(wbc["histogram"]) == 1


def test_wide_range_of_sizes_gets_wider_bins():
    sizes = size_distribution([cell("CTC", 4.0), cell("CTC", 113.0), cell("CTC", 1e5)], ["CTC"])
    assert len(sizes["edges_um"]) <= 61
    assert sum(sizes["by_class"]["CTC"]["histogram"]) == 3


def test_sizes_refuse_a_class_that_is_not_listed():
    with pytest.raises(ValueError, match=r"lack 'debris'"):
        size_distribution([cell("debris", 3.0)], ["CTC"])
    with pytest.raises(ValueError, match="`diameter_um`"):
        size_distribution([cell("CTC", math.nan)], ["CTC"])
