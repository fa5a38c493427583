import math

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap
from sklearn.metrics import f1_score, roc_auc_score

from ctc_mm.evaluation.functional.bootstrap import bootstrap_by_group, bootstrap_figures, weighted_auc, weighted_f1


def mean_of(values):
    return lambda times: float(times @ values / times.sum())


def test_no_cell_is_an_error():
    with pytest.raises(ValueError, match="at least one cell"):
        bootstrap_by_group(mean_of(np.empty(0)), np.empty(0))


def test_one_group_has_an_estimate_but_no_interval():
    found = bootstrap_by_group(mean_of(np.array([1.0, 3.0])), np.array(["a", "a"]))
    assert found.estimate == 2.0
    assert math.isnan(found.low)
    assert "one group only" in found.note


def test_few_groups_are_named():
    found = bootstrap_by_group(mean_of(np.arange(6.0)), np.array([0, 0, 1, 1, 2, 2]), 500)
    assert found.n_groups == 3
    assert found.low < found.estimate < found.high
    assert "3 groups only" in found.note


def test_same_seed_same_interval_whatever_the_names_of_the_groups():
    values, groups = np.arange(40.0), np.arange(40) // 4
    one = bootstrap_by_group(mean_of(values), groups, 300, seed=7)
    assert bootstrap_by_group(mean_of(values), groups, 300, seed=7) == one
    assert bootstrap_by_group(mean_of(values), np.char.add("p", groups.astype(str)), 300, seed=7).low == one.low
    assert bootstrap_by_group(mean_of(values), groups, 300, seed=8).low != one.low


def test_several_figures_share_the_resamples_and_equal_their_own_bootstrap():
    values, groups = np.arange(40.0), np.arange(40) // 4
    many = bootstrap_figures({"a": mean_of(values), "b": mean_of(-values)}, groups, 300)
    assert many["a"] == bootstrap_by_group(mean_of(values), groups, 300)
    assert (many["b"].low, many["b"].high) == (pytest.approx(-many["a"].high), pytest.approx(-many["a"].low))


def test_resamples_that_lack_a_class_are_counted_and_left_out():
    gt, score = np.array([1, 0, 0, 0, 0, 0]), np.array([0.9, 0.8, 0.3, 0.2, 0.1, 0.95])
    found = bootstrap_by_group(weighted_auc(gt, score), np.arange(6), 4000)
    # The one CTC is missing with probability (5/6)**6; all six draws the CTC is negligible.
    assert found.n_unusable / found.n_resamples == pytest.approx((5 / 6) ** 6, abs=0.03)
    assert "lack a class" in found.note
    assert found.low <= 0.8 <= found.high


def test_too_few_usable_resamples_give_no_interval():
    gt, score = np.array([1, 0, 0, 0]), np.array([0.9, 0.8, 0.3, 0.2])
    found = bootstrap_by_group(weighted_auc(gt, score), np.arange(4), 20)
    assert math.isnan(found.high)
    assert "too few for an interval" in found.note
    alone = bootstrap_by_group(weighted_auc(gt[1:], score[1:]), np.arange(3))
    assert math.isnan(alone.estimate)
    assert alone.note == "undefined on these cells"


def test_an_interval_without_width_says_what_it_cannot_show():
    gt, score = np.array([1, 1, 0, 0] * 5), np.array([0.9, 0.8, 0.2, 0.1] * 5)
    found = bootstrap_by_group(weighted_auc(gt, score), np.arange(20), 200)
    assert (found.low, found.high) == (1.0, 1.0)
    assert "cannot show the uncertainty" in found.note


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_by_cell_it_is_the_ordinary_bootstrap_of_scipy(method):
    values = np.random.default_rng(0).exponential(size=60)
    found = bootstrap_by_group(mean_of(values), np.arange(60), 4000, method=method)
    name = {"percentile": "percentile", "bca": "BCa"}[method]
    expected = scipy_bootstrap((values,), np.mean, n_resamples=4000, method=name, rng=np.random.default_rng(1))
    low, high = expected.confidence_interval
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)
    assert found.method == method


def test_bca_falls_back_where_it_is_undefined():
    found = bootstrap_by_group(mean_of(np.ones(20)), np.arange(20), 100, method="bca")
    assert (found.method, found.low, found.high) == ("percentile", 1.0, 1.0)


def test_coverage_by_group_holds_where_coverage_by_cell_does_not():
    """40 patients of 5 cells whose values share a part: the mean's true value is 0."""
    rng = np.random.default_rng(11)
    groups = np.repeat(np.arange(40), 5)
    covered = {"group": 0, "cell": 0}
    runs = 300
    for run in range(runs):
        values = rng.normal(size=40)[groups] + 0.3 * rng.normal(size=200)
        for name, drawn in (("group", groups), ("cell", np.arange(200))):
            found = bootstrap_by_group(mean_of(values), drawn, 200, seed=run)
            covered[name] += found.low <= 0 <= found.high
    assert 0.9 <= covered["group"] / runs <= 0.97
    assert covered["cell"] / runs <= 0.75


def test_weighted_figures_equal_scikit_learn_on_repeated_cells():
    rng = np.random.default_rng(5)
    gt, score = rng.integers(0, 2, 50), np.round(rng.random(50), 1)
    auc, f1 = weighted_auc(gt, score), weighted_f1(gt, score >= 0.5)
    macro = weighted_f1(gt, score >= 0.5, macro=True)
    for _ in range(20):
        times = rng.integers(0, 4, 50)
        many_gt, many_score = np.repeat(gt, times), np.repeat(score, times)
        assert auc(times) == pytest.approx(roc_auc_score(many_gt, many_score), abs=1e-12)
        assert f1(times) == pytest.approx(f1_score(many_gt, many_score >= 0.5), abs=1e-12)
        assert macro(times) == pytest.approx(f1_score(many_gt, many_score >= 0.5, average="macro"), abs=1e-12)
    assert math.isnan(auc(gt))
    assert math.isnan(f1(1 - gt))


@pytest.mark.parametrize(
    "options", [{"n_resamples": 0}, {"confidence": 1.0}, {"method": "studentised"}], ids=["none", "confidence", "name"]
)
def test_impossible_options(options):
    with pytest.raises(ValueError, match="Received"):
        bootstrap_by_group(mean_of(np.arange(3.0)), np.arange(3), **options)
