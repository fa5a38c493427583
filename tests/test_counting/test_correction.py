"""Counts corrected for sensitivity and false positives, by hand and by simulation."""

import numpy as np
import pytest

from ctc_mm.counting.statistics import FalsePerArea, Rate, corrected_count, poisson_interval

FEW = 2000


def test_nothing_found_and_nothing_invented():
    found = corrected_count(0, Rate(30, 30), Rate(0, 400), n_cells=0)
    assert (found.value, found.low, found.high) == (0, 0, 0)  # no cell was judged, so none can have been missed
    assert corrected_count(0, Rate(30, 30), FalsePerArea(0, 1e6), area_px=1e6).high > 3.69


def test_classifier_by_rogan_and_gladen():
    # 1000 cells, 20 called CTC; sensitivity 0.9, false-positive rate 0.005: (20 - 5) / 0.895.
    found = corrected_count(20, Rate(90, 100), Rate(5, 1000), n_cells=1000)
    assert found.value == pytest.approx(15 / 0.895)
    assert found.low < found.value < found.high
    assert "Rogan and Gladen" in found.method


def test_detector_by_area():
    # 3 false CTCs on 10 test images of 300 px, the slide is 20 such images: 6 of the 20 are false.
    found = corrected_count(20, Rate(8, 10), FalsePerArea(3, 10 * 300**2), area_px=20 * 300**2)
    assert found.value == pytest.approx(14 / 0.8)


def test_perfect_model_known_well_leaves_the_count_alone():
    found = corrected_count(10, Rate(10**7, 10**7), Rate(0, 10**9), n_cells=1000)
    assert found.value == 10
    assert (found.low, found.high) == pytest.approx(poisson_interval(10), rel=0.02)


def test_poorly_known_model_widens_the_interval():
    well = corrected_count(30, Rate(900, 1000), Rate(50, 10_000), n_cells=500)
    poorly = corrected_count(30, Rate(9, 10), Rate(1, 200), n_cells=500)
    assert poorly.value == pytest.approx(well.value)
    assert poorly.low < well.low
    assert poorly.high > well.high


def test_more_false_cells_than_found_gives_none():
    found = corrected_count(2, Rate(90, 100), Rate(10, 1000), n_cells=5000)
    assert (found.value, found.low) == (0, 0)
    assert 0 < found.high < 10


def test_correction_stays_within_the_cells_judged():
    found = corrected_count(9, Rate(5, 10), Rate(0, 10), n_cells=10)
    assert found.value == 10
    assert found.high <= 10


@pytest.mark.parametrize(("ctc", "others"), [(0, 500), (5, 500), (40, 500), (5, 10_000)])
def test_classifier_interval_covers_the_true_number(ctc, others):
    rng = np.random.default_rng(8)
    sensitivity, false_rate, inside = 0.9, 0.004, []
    for _ in range(250):
        hits, false = int(rng.binomial(60, sensitivity)), int(rng.binomial(800, false_rate))
        there = int(rng.poisson(ctc))
        count = int(rng.binomial(there, sensitivity) + rng.binomial(others, false_rate))
        known = Rate(hits, 60), Rate(false, 800)
        found = corrected_count(count, *known, n_cells=others + there, n_draws=FEW)
        inside.append(found.low <= ctc <= found.high)
    assert np.mean(inside) >= 0.94


@pytest.mark.parametrize("ctc", [0, 3, 30])
def test_detector_interval_covers_the_true_number(ctc):
    rng = np.random.default_rng(9)
    inside = []
    for _ in range(250):
        hits, false = int(rng.binomial(40, 0.85)), int(rng.poisson(6))
        count = int(rng.poisson(ctc * 0.85 + 6 * 0.5))  # the slide is half as large as the test images
        found = corrected_count(count, Rate(hits, 40), FalsePerArea(false, 2e6), area_px=1e6, n_draws=FEW)
        inside.append(found.low <= ctc <= found.high)
    assert np.mean(inside) >= 0.94


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rate(3, 0), "at least one cell"),
        (lambda: Rate(5, 4), r"`k` in 0\.\.n"),
        (lambda: Rate(-1, 4), "`k` must be a whole number"),
        (lambda: FalsePerArea(1, 0), "`area_px` must be a finite number above 0"),
        (lambda: corrected_count(3, Rate(0, 9), Rate(0, 9), n_cells=9), "cannot be corrected for"),
        (lambda: corrected_count(3, Rate(1, 9), Rate(3, 9), n_cells=9), "above the false-positive rate"),
        (lambda: corrected_count(3, Rate(9, 9), Rate(0, 9)), "`n_cells`"),
        (lambda: corrected_count(3, Rate(9, 9), Rate(0, 9), n_cells=2), "at least the count of 3"),
        (lambda: corrected_count(3, Rate(9, 9), FalsePerArea(0, 9)), "`area_px` must be given"),
    ],
)
def test_correction_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_same_seed_same_interval():
    one, other = (corrected_count(7, Rate(9, 10), Rate(1, 100), n_cells=90, seed=2) for _ in range(2))
    assert one == other
