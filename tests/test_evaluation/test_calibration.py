import math

import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import calibration_curve

from ctc_mm.evaluation.functional.binary import log_losses
from ctc_mm.evaluation.functional.calibration import (
    TEMPERATURE_RANGE,
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    reliability_bins,
)


def planted(temperature, n=20_000, seed=0):
    """Truth drawn from honest log-odds, which are then given ``temperature`` times too large."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(-1, 2, n)
    return (rng.random(n) < expit(honest)).astype(int), honest * temperature


def test_no_cell():
    bins = reliability_bins(np.empty(0), np.empty(0), 5)
    assert bins.count.tolist() == [0] * 5
    assert np.isnan(bins.observed).all()
    assert math.isnan(expected_calibration_error(np.empty(0), np.empty(0)))


def test_bins_by_hand():
    gt, probability = np.array([0, 0, 1, 1, 1]), np.array([0.0, 0.1, 0.2, 0.5, 1.0])
    bins = reliability_bins(gt, probability, 2)
    assert bins.count.tolist() == [3, 2]  # 0.5 opens the second bin, 1 belongs to the last
    assert bins.n_target.tolist() == [1, 2]
    assert bins.mean_probability.tolist() == pytest.approx([0.1, 0.75])
    assert bins.observed.tolist() == pytest.approx([1 / 3, 1])
    error = 3 / 5 * abs(1 / 3 - 0.1) + 2 / 5 * 0.25
    assert expected_calibration_error(gt, probability, 2) == pytest.approx(error)


def test_bins_are_those_of_scikit_learn():
    gt, logit = planted(2.0, 500)
    observed, mean = calibration_curve(gt, expit(logit), n_bins=10)
    bins = reliability_bins(gt, expit(logit), 10)
    np.testing.assert_allclose(bins.observed[bins.count > 0], observed)
    np.testing.assert_allclose(bins.mean_probability[bins.count > 0], mean)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_planted_temperature_is_recovered_and_calibrates(temperature):
    gt, logit = planted(temperature)
    fitted = fit_temperature(gt, logit)
    assert fitted.value == pytest.approx(temperature, rel=0.05)
    assert fitted.reason == ""
    assert expected_calibration_error(gt, apply_temperature(logit, fitted.value)) < 0.015
    if temperature == 3.0:
        assert expected_calibration_error(gt, expit(logit)) > 0.05


def test_no_other_temperature_has_a_lower_loss():
    gt, logit = planted(2.0, 300)
    best = log_losses(gt, logit / fit_temperature(gt, logit).value).mean()
    others = [log_losses(gt, logit / temperature).mean() for temperature in np.geomspace(*TEMPERATURE_RANGE, 200)]
    assert best <= min(others) + 1e-9


@pytest.mark.parametrize(
    ("gt", "logit", "reason"),
    [
        ([1, 1], [2.0, -1.0], "2 target and 0 other"),
        ([0], [2.0], "0 target and 1 other"),
        ([], [], "0 target and 0 other"),
        ([1, 0], [2.0, -1.0], "right side"),
    ],
    ids=["only CTC", "single cell", "no cell", "separated"],
)
def test_cells_that_cannot_determine_it_leave_it_at_one(gt, logit, reason):
    fitted = fit_temperature(np.array(gt, int), np.array(logit))
    assert fitted.value == 1.0
    assert reason in fitted.reason


def test_a_misleading_score_is_softened_to_the_end_of_the_range():
    fitted = fit_temperature(np.array([1, 0, 1, 0]), np.array([-3.0, 3.0, -2.0, 2.5]))
    assert fitted.value == pytest.approx(TEMPERATURE_RANGE[1], rel=0.01)
    assert "end of the range" in fitted.reason


@pytest.mark.parametrize(
    ("probability", "n_bins", "message"), [([1.2, 0.1], 10, r"\[0, 1\]"), ([0.2, 0.1], 0, "at least 1")]
)
def test_bad_input(probability, n_bins, message):
    with pytest.raises(ValueError, match=message):
        reliability_bins([1, 0], probability, n_bins)
