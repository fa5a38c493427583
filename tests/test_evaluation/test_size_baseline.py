import math

import numpy as np
import pytest

from ctc_mm.evaluation.functional.binary import BinaryCounts
from ctc_mm.evaluation.functional.size_baseline import (
    NOT_CHOSEN,
    UNKNOWN,
    CellSizes,
    cell_sizes,
    choose_size_threshold,
    evaluate_size,
)

NAN = math.nan
GT = np.array([1, 1, 0, 0])


def test_no_size_known():
    sizes = cell_sizes(np.full(4, NAN), np.full(4, NAN))
    assert sizes.unit is None
    assert choose_size_threshold(GT, sizes) == (None, NOT_CHOSEN)
    found = evaluate_size(GT, sizes, None, NOT_CHOSEN)
    assert (found.n, found.n_unknown, found.counts, found.reason) == (0, 4, None, UNKNOWN)
    assert math.isnan(found.auc)


def test_unit_with_more_cells_is_taken_micrometres_if_equal():
    um, px = np.array([10.0, NAN, NAN, NAN]), np.array([20.0, 30.0, NAN, NAN])
    assert cell_sizes(um, px).unit == "px"
    assert cell_sizes(px, px).unit == "um"
    assert cell_sizes(um, px, "um").diameter[0] == 10.0
    assert cell_sizes(np.full(4, NAN), px, "um").unit is None


def test_larger_is_ctc():
    threshold, reason = choose_size_threshold(GT, CellSizes(np.array([16.0, 14.0, 10.0, 8.0]), "um"))
    assert (threshold, reason) == (12.0, "")
    found = evaluate_size(GT, CellSizes(np.array([12.0, 11.9, 12.1, 5.0]), "um"), threshold)
    assert found.counts == BinaryCounts(1, 1, 1, 1)
    assert found.auc == pytest.approx(2 / 4)
    smaller = evaluate_size(GT, CellSizes(np.array([5.0, 6.0, 10.0, 11.0]), "um"), threshold)
    assert smaller.auc == 0.0


def test_cells_of_unknown_size_are_left_out_and_counted():
    sizes = CellSizes(np.array([16.0, NAN, 10.0, NAN]), "px")
    threshold, _ = choose_size_threshold(GT, sizes)
    assert threshold == 13.0
    found = evaluate_size(GT, sizes, threshold)
    assert (found.n, found.n_unknown, found.auc, found.counts) == (2, 2, 1.0, BinaryCounts(1, 0, 0, 1))


def test_one_class_of_known_size_gives_no_threshold():
    threshold, reason = choose_size_threshold(GT, CellSizes(np.array([16.0, 15.0, NAN, NAN]), "px"))
    assert threshold is None
    assert "no other cell" in reason
