import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctc_mm.evaluation.functional.binary import binary_counts
from ctc_mm.evaluation.functional.thresholds import FPR, SENSITIVITY, YOUDEN, choose_thresholds


@pytest.mark.parametrize(
    ("gt", "reason"),
    [([], "no target and no other"), ([1, 1], "no other cell"), ([0], "no target cell")],
    ids=["no cell", "only CTC", "no CTC"],
)
def test_one_class_absent_gives_no_threshold_but_a_reason(gt, reason):
    for chosen in choose_thresholds(np.array(gt, int), np.linspace(0, 1, len(gt))).values():
        assert (chosen.threshold, chosen.counts) == (None, None)
        assert reason in chosen.reason


def test_by_hand():
    gt = np.array([1, 1, 0, 1, 0, 0, 0, 1])
    score = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    chosen = choose_thresholds(gt, score, wanted_sensitivity=0.75, wanted_fpr=0.0)
    assert chosen[YOUDEN].threshold == pytest.approx(0.75)  # 0.5 at 0.8 and at 0.6: the higher one
    assert chosen[SENSITIVITY].threshold == pytest.approx(0.55)  # 3 of 4
    assert chosen[FPR].threshold == pytest.approx(0.75)
    assert chosen[SENSITIVITY].counts.sensitivity == 0.75
    everything = choose_thresholds(gt, score, wanted_sensitivity=1.0, wanted_fpr=0.25)
    assert everything[SENSITIVITY].threshold == 0.2  # nothing below: the score itself
    assert everything[FPR].counts.fp == 1


def test_halfway_lies_between_and_calls_the_same_cells():
    chosen = choose_thresholds(np.array([1, 0]), np.array([0.9, 0.1]))
    assert {one.threshold for one in chosen.values()} == {0.5}
    near = np.nextafter(0.5, 1)  # neighbouring floats have no middle
    assert choose_thresholds(np.array([1, 0]), np.array([near, 0.5]))[YOUDEN].threshold == near


def test_ties_move_together():
    gt, score = np.array([1, 0, 0, 1]), np.array([0.6, 0.6, 0.2, 0.2])
    chosen = choose_thresholds(gt, score, wanted_sensitivity=0.5, wanted_fpr=0.4)
    assert chosen[SENSITIVITY].counts.tp == 1
    assert chosen[SENSITIVITY].counts.fp == 1
    assert chosen[FPR].threshold is None
    assert "above 0.4" in chosen[FPR].reason


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1, width=32)), min_size=2, max_size=40),
    st.floats(0.01, 1),
    st.floats(0, 0.99),
)
def test_wishes_are_truly_met_and_no_other_threshold_does_better(cells, sensitivity, fpr):
    gt, score = np.array([cell[0] for cell in cells]), np.array([cell[1] for cell in cells])
    if not 0 < gt.sum() < gt.size:
        return
    chosen = choose_thresholds(gt, score, sensitivity, fpr)
    others = [binary_counts(gt, score, threshold) for threshold in np.unique(score)]
    for one in chosen.values():
        if one.threshold is not None:
            assert binary_counts(gt, score, one.threshold) == one.counts
    assert chosen[SENSITIVITY].counts.sensitivity >= sensitivity
    enough = [counts.false_positive_rate for counts in others if counts.sensitivity >= sensitivity]
    assert chosen[SENSITIVITY].counts.false_positive_rate == min(enough)
    low = [counts.sensitivity for counts in others if counts.false_positive_rate <= fpr and counts.tp]
    assert (chosen[FPR].threshold is None) == (not low)
    if low:
        assert chosen[FPR].counts.false_positive_rate <= fpr
        assert chosen[FPR].counts.sensitivity == max(low)
    assert chosen[YOUDEN].counts.youden == pytest.approx(max(counts.youden for counts in others))


@pytest.mark.parametrize(("sensitivity", "fpr"), [(0, 0.1), (1.1, 0.1), (0.9, 1.0), (0.9, -0.1)])
def test_wishes_out_of_range(sensitivity, fpr):
    with pytest.raises(ValueError, match="must lie in"):
        choose_thresholds(np.array([1, 0]), np.array([0.9, 0.1]), sensitivity, fpr)
