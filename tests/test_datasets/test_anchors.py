import numpy as np
import pytest

from ctc_mm.datasets.anchors import (
    AnchorLevel,
    best_grid_iou,
    class_weights,
    fit_shapes,
    mean_best,
    measure_coverage,
    shape_iou,
)


def level(sizes, stride, grid_wh, offset=None):
    centre = np.full(2, stride / 2 if offset is None else offset)
    sizes = np.array(sizes, float)
    return AnchorLevel(np.hstack([centre - sizes / 2, centre + sizes / 2]), (stride, stride), grid_wh)


def all_anchors(levels):
    """Every anchor of every place, laid out."""
    boxes = []
    for one in levels:
        for row in range(one.grid_wh[1]):
            for column in range(one.grid_wh[0]):
                shift = np.array([column * one.stride_xy[0], row * one.stride_xy[1]] * 2)
                boxes.append(one.first_xyxy + shift)
    return np.vstack(boxes)


def plain_iou(first, second):
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return common / (areas[0][:, None] + areas[1][None] - common)


def random_boxes(count, side, seed=0):
    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, side, (count, 2))
    return np.hstack([corners, corners + generator.uniform(2, side / 2, (count, 2))])


def test_nothing():
    levels = [level([(8, 8)], 8, (4, 4))]
    assert best_grid_iou(np.zeros((0, 4)), levels).shape == (0,)
    assert best_grid_iou(random_boxes(3, 32), []).tolist() == [0, 0, 0]
    assert shape_iou(np.zeros((0, 2)), np.ones((3, 2))).shape == (0, 3)
    rows = measure_coverage(np.zeros((0, 4)), np.zeros(0), ("CTC",), levels)
    assert [(row.name, row.boxes) for row in rows] == [("all", 0), ("CTC", 0)]
    assert np.isnan(rows[0].grid_recall)


def test_iou_of_shapes():
    found = shape_iou([(10, 10), (20, 5)], [(10, 10), (5, 20), (20, 20)])
    np.testing.assert_allclose(found, [[1, 50 / 150, 100 / 400], [50 / 150, 25 / 175, 100 / 400]])


@pytest.mark.parametrize("offset", [None, 0.0])
def test_the_best_anchor_is_found_without_laying_them_out(offset):
    levels = [
        level([(10, 14), (16, 16), (30, 12)], 8, (9, 7), offset),
        level([(40, 40), (20, 50)], 16, (5, 4), offset),
        level([(70, 60)], 33, (2, 2), offset),
    ]
    boxes = random_boxes(300, 72)  # some beyond the grid
    expected = plain_iou(boxes, all_anchors(levels)).max(axis=1)
    np.testing.assert_allclose(best_grid_iou(boxes, levels), expected, atol=1e-12)


def test_coverage_by_class():
    levels = [level([(10, 10)], 20, (2, 1))]  # centres at (10, 10) and (30, 10)
    boxes = [(5, 5, 15, 15), (25, 5, 35, 15), (15, 5, 25, 15), (0, 0, 40, 20)]
    rows = {row.name: row for row in measure_coverage(boxes, [0, 0, 1, 1], ("CTC", "WBC"), levels)}
    assert (rows["CTC"].grid_recall, rows["CTC"].grid_mean_iou) == (1.0, 1.0)
    # One WBC has the anchor's shape and lies between two places, the other is eight anchors large.
    assert (rows["WBC"].shape_recall, rows["WBC"].grid_recall) == (0.5, 0.0)
    assert rows["WBC"].shape_mean_iou == pytest.approx((1 + 1 / 8) / 2)
    assert rows["WBC"].grid_mean_iou == pytest.approx((0 + 1 / 8) / 2)
    assert (rows["all"].boxes, rows["all"].shape_recall) == (4, 0.75)


PLANTED = np.array([(12.0, 14.0), (40.0, 36.0), (90.0, 120.0)])


def planted(per_shape=60, seed=1):
    generator = np.random.default_rng(seed)
    return np.vstack([shape * generator.normal(1, 0.03, (per_shape, 2)) for shape in PLANTED])


def test_shapes_that_are_there_are_found():
    boxes = planted()
    found = fit_shapes(boxes, 3, seed=0)
    np.testing.assert_allclose(found, PLANTED, rtol=0.02)
    assert mean_best(shape_iou(boxes, found), np.ones(len(boxes))) > 0.94
    alone, ones = fit_shapes(boxes, 1), np.ones(len(boxes))
    others = [*boxes[:, None], boxes.mean(axis=0)[None]]
    assert mean_best(shape_iou(boxes, alone), ones) >= max(mean_best(shape_iou(boxes, one), ones) for one in others)


def test_same_seed_same_shapes_and_more_shapes_fit_better():
    boxes = random_boxes(200, 100)
    sizes = boxes[:, 2:] - boxes[:, :2]
    assert np.array_equal(fit_shapes(sizes, 5, seed=3), fit_shapes(sizes, 5, seed=3))
    ones = np.ones(len(sizes))
    means = [mean_best(shape_iou(sizes, fit_shapes(sizes, count)), ones) for count in (1, 2, 4, 8)]
    assert means == sorted(means)


def test_weights_draw_shapes_to_a_rare_class():
    common, rare = np.tile([(20.0, 20.0), (21.0, 21.0)], (50, 1)), np.array([(60.0, 60.0), (62.0, 62.0)])
    boxes, labels = np.vstack([common, rare]), np.array([0] * 100 + [1] * 2)
    weights = class_weights(labels)
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum()) == pytest.approx(51.0)
    plain, weighted = fit_shapes(boxes, 1), fit_shapes(boxes, 1, weights=np.where(labels == 1, 100.0, 1.0))
    assert 20 <= plain[0, 0] <= 22
    assert 58 <= weighted[0, 0] <= 62


def test_a_class_that_does_not_occur_weighs_nothing():
    assert class_weights(np.array([2, 2, 0])).tolist() == [0.75, 0.75, 1.5]


@pytest.mark.parametrize(
    ("boxes", "count", "message"),
    [
        ([(3, 4)] * 9, 2, "2 anchor shapes cannot be fitted to 1 different boxes"),
        ([], 1, "1 anchor shapes cannot be fitted to 0 different boxes"),
        ([(3, 4)], 0, "at least one"),
        ([(3, 0)], 1, "a box without area"),
        ([(3, np.nan)], 1, "not finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(boxes, count, message):
    with pytest.raises(ValueError, match=message):
        fit_shapes(np.array(boxes, float).reshape(-1, 2), count)
