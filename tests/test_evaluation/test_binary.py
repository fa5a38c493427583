import math

import numpy as np
import pytest
from sklearn import metrics as sk

from ctc_mm.evaluation.functional.binary import (
    BinaryCounts,
    balanced_log_loss,
    binary_counts,
    binary_metrics,
    log_losses,
)

RNG = np.random.default_rng(0)
GT = RNG.integers(0, 2, 200)
SCORE = np.round(np.clip(0.3 * GT + RNG.random(200) * 0.7, 0, 1), 2)  # rounded: with ties, and some at 0.5


def test_no_cell_at_all():
    counts = binary_counts(np.empty(0), np.empty(0))
    assert counts == BinaryCounts(0, 0, 0, 0)
    assert all(math.isnan(value) for value in binary_metrics(np.empty(0), np.empty(0)).values())
    assert math.isnan(balanced_log_loss(np.empty(0), np.empty(0)))


def test_rates_are_those_of_scikit_learn():
    called = (SCORE >= 0.5).astype(int)
    assert (SCORE == 0.5).any()
    expected = {
        "sensitivity": sk.recall_score(GT, called),
        "specificity": sk.recall_score(1 - GT, 1 - called),
        "precision": sk.precision_score(GT, called),
        "F1": sk.f1_score(GT, called),
        "F1_macro": sk.f1_score(GT, called, average="macro"),
        "accuracy": sk.accuracy_score(GT, called),
        "balanced_accuracy": sk.balanced_accuracy_score(GT, called),
    }
    assert binary_metrics(GT, SCORE) == pytest.approx(expected, abs=1e-12)
    counts = binary_counts(GT, SCORE)
    assert [[counts.tn, counts.fp], [counts.fn, counts.tp]] == sk.confusion_matrix(GT, called).tolist()
    assert counts.youden == pytest.approx(expected["sensitivity"] + expected["specificity"] - 1)
    assert counts.false_positive_rate == pytest.approx(1 - expected["specificity"])


def test_a_score_at_the_threshold_counts_as_called():
    assert binary_counts([1, 0, 1, 0], [0.5, 0.5, 0.4999, 0.4999]) == BinaryCounts(1, 1, 1, 1)


@pytest.mark.parametrize(
    ("gt", "defined", "undefined"),
    [
        ([0, 0, 0], {"specificity": 2 / 3, "precision": 0.0, "accuracy": 2 / 3}, {"sensitivity", "F1", "F1_macro"}),
        ([1, 1, 1], {"sensitivity": 1 / 3, "precision": 1.0, "F1": 0.5}, {"specificity", "F1_macro"}),
    ],
    ids=["no CTC", "only CTC"],
)
def test_one_class_absent(gt, defined, undefined):
    rates = binary_metrics(gt, [0.9, 0.1, 0.2])
    for name, value in defined.items():
        assert rates[name] == pytest.approx(value)
    assert {name for name, value in rates.items() if math.isnan(value)} == undefined | {"balanced_accuracy"}


def test_nothing_called_has_no_precision_and_an_f1_of_zero():
    counts = binary_counts([1, 0], [0.1, 0.2])
    assert math.isnan(counts.precision)
    assert counts.f1 == 0.0


def test_counts_add_up():
    assert BinaryCounts(1, 2, 3, 4) + BinaryCounts(10, 20, 30, 40) == BinaryCounts(11, 22, 33, 44)
    assert BinaryCounts(1, 2, 3, 4).n == 10


def test_log_loss_is_that_of_scikit_learn_and_finite_for_certain_scores():
    logit = RNG.normal(size=200) * 3
    expected = sk.log_loss(GT, 1 / (1 + np.exp(-logit)))
    assert log_losses(GT, logit).mean() == pytest.approx(expected, abs=1e-9)
    assert log_losses([1, 0], [-87.0, 800.0]).tolist() == pytest.approx([87.0, 800.0])


def test_balanced_log_loss_weighs_classes_alike_and_needs_only_one():
    gt, logit = np.array([1, 0, 0, 0]), np.array([0.0, -2.0, -2.0, -2.0])
    assert balanced_log_loss(gt, logit) == pytest.approx((math.log(2) + math.log1p(math.exp(-2))) / 2)
    assert balanced_log_loss(gt[1:], logit[1:]) == pytest.approx(math.log1p(math.exp(-2)))


@pytest.mark.parametrize(
    ("gt", "score", "message"),
    [
        ([1, 0], [0.1], "both be"),
        ([[1], [0]], [[0.1], [0.2]], "both be"),
        ([1, 2], [0.1, 0.2], "must be 1 .* or 0"),
        ([1, 0], [0.1, np.nan], "1 NaN or infinite"),
    ],
    ids=["length", "shape", "label", "nan"],
)
def test_input_that_cannot_be_counted(gt, score, message):
    with pytest.raises(ValueError, match=message):
        binary_counts(gt, score)


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="cannot be negative"):
        BinaryCounts(1, -1, 0, 0)
