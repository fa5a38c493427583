import math

import numpy as np
import pytest

from ctc_mm.explain.sanity import inside_mask, inside_outside_ratio


def test_no_box_has_no_ratio():
    assert math.isnan(inside_outside_ratio(np.ones((4, 4)), np.zeros((0, 4))))


def test_boxes_over_everything_have_no_ratio():
    assert math.isnan(inside_outside_ratio(np.ones((4, 4)), [[0, 0, 4, 4]]))


@pytest.mark.parametrize(
    ("inside", "outside", "expected"),
    [(0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, math.inf), (3.0, 1.0, 3.0), (0.5, 0.5, 1.0)],
)
def test_ratio_of_the_means(inside, outside, expected):
    cam = np.full((10, 10), outside)
    cam[2:5, 3:7] = inside
    assert inside_outside_ratio(cam, [[3, 2, 7, 5]]) == pytest.approx(expected)


def test_overlapping_boxes_count_once():
    cam = np.ones((4, 4))
    cam[0, 0] = 9
    # Inside: pixels (0, 0) and (0, 1); counted twice, the first would weigh more.
    assert inside_outside_ratio(cam, [[0, 0, 1, 1], [0, 0, 2, 1]]) == pytest.approx(5.0)


def test_boxes_are_half_open_and_may_leave_the_image():
    mask = inside_mask([[-5, 1, 2, 3], [2.6, 0, 9, 1]], (3, 4))
    assert mask.astype(int).tolist() == [[0, 0, 0, 1], [1, 1, 0, 0], [1, 1, 0, 0]]


def test_a_stack_of_maps_is_refused():
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        inside_outside_ratio(np.ones((2, 4, 4)), [[0, 0, 1, 1]])
