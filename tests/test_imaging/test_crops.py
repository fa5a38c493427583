import cv2
import numpy as np
import pytest

from ctc_mm.imaging.crops import (
    boxes_in_window,
    central_area_xyxy,
    count_grid_windows,
    grid_windows,
    random_windows,
)


def _anything(_):
    return True


@pytest.mark.parametrize(
    ("size_wh", "side", "expected"),
    [
        ((1024, 1024), 850, (87, 87, 937, 937)),
        ((850, 850), 850, (0, 0, 850, 850)),
        ((1000, 400), 850, (75, 0, 925, 400)),
        ((11, 10), 4, (3, 3, 7, 7)),
    ],
)
def test_the_central_area(size_wh, side, expected):
    assert central_area_xyxy(size_wh, side) == expected


def test_an_area_needs_a_size():
    with pytest.raises(ValueError, match="at least 1"):
        central_area_xyxy((0, 5), 3)


@pytest.mark.parametrize("choose", [grid_windows, random_windows])
def test_an_area_smaller_than_a_window_has_none(choose):
    assert choose((0, 0, 299, 850), 300, 5, np.random.default_rng(0), _anything).shape == (0, 2)
    assert count_grid_windows((0, 0, 299, 850), 300) == 0


def test_the_paper_s_area_holds_four_windows_side_by_side():
    area = (87, 87, 937, 937)
    assert count_grid_windows(area, 300) == 4
    for seed in range(20):
        origins = grid_windows(area, 300, 30, np.random.default_rng(seed), _anything)
        covered = np.zeros((1024, 1024), int)
        for x, y in origins:
            covered[y : y + 300, x : x + 300] += 1
        assert len(origins) == 4
        assert covered.max() == 1
        assert covered[87:937, 87:937].sum() == covered.sum() == 4 * 300 * 300


def test_fewer_windows_are_drawn_where_fewer_are_wanted():
    assert len(grid_windows((0, 0, 850, 850), 300, 3, np.random.default_rng(0), _anything)) == 3


def test_an_area_that_just_fits_has_one_place():
    origins = grid_windows((5, 6, 305, 306), 300, 9, np.random.default_rng(0), _anything)
    np.testing.assert_array_equal(origins, [[5, 6]])


def test_the_grid_looks_for_a_place_with_accepted_windows():
    def accept(origin):
        return origin[0] % 7 == 0

    origins = grid_windows((0, 0, 430, 210), 200, 9, np.random.default_rng(0), accept)
    # 200 is no multiple of 7, so one of two columns at most can be accepted.
    assert len(origins) == 1
    assert origins[0, 0] % 7 == 0


def test_random_windows_lie_inside_and_differ():
    origins = random_windows((87, 87, 937, 937), 300, 30, np.random.default_rng(0), _anything)
    assert origins.shape == (30, 2)
    assert len({tuple(origin) for origin in origins.tolist()}) == 30
    assert origins.min() >= 87
    assert (origins + 300).max() <= 937


def test_random_windows_end_where_places_are_used_up():
    origins = random_windows((0, 0, 4, 3), 3, 50, np.random.default_rng(0), _anything)
    assert sorted(origins.tolist()) == [[0, 0], [1, 0]]


def test_random_windows_reach_every_edge():
    origins = random_windows((0, 0, 6, 6), 3, 16, np.random.default_rng(1), _anything)
    assert len(origins) == 16


def test_the_same_seed_gives_the_same_windows():
    first, second = (random_windows((0, 0, 850, 850), 300, 9, np.random.default_rng(3), _anything) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_no_boxes_are_no_boxes():
    seen = boxes_in_window(np.zeros((0, 4)), (5, 5), 10)
    assert len(seen.whole) == len(seen.cut) == 0
    assert seen.whole_xyxy.shape == seen.cut_xyxy.shape == (0, 4)


def test_a_box_without_area_is_neither_inside_nor_cut():
    seen = boxes_in_window(np.array([[3, 3, 3, 5], [0, 0, 0, 0]]), (0, 0), 10)
    assert len(seen.whole) == len(seen.cut) == 0


def test_boxes_are_told_apart():
    boxes = np.array(
        [[10, 20, 20, 30], [9, 20, 12, 30], [19, 29, 40, 40], [0, 0, 10, 20], [20, 20, 25, 25], [5, 5, 50, 50]]
    )
    seen = boxes_in_window(boxes, (10, 20), 10)
    np.testing.assert_array_equal(seen.whole, [0])
    np.testing.assert_array_equal(seen.whole_xyxy, [[0, 0, 10, 10]])
    np.testing.assert_array_equal(seen.cut, [1, 2, 5])
    np.testing.assert_array_equal(seen.cut_xyxy, [[0, 0, 2, 10], [9, 9, 10, 10], [0, 0, 10, 10]])
    assert seen.whole_xyxy.dtype == np.float32


def test_moved_boxes_lie_on_what_they_marked():
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 180, (40, 2))
    boxes = np.hstack([starts, starts + rng.integers(5, 20, (40, 2))])
    for index, box in enumerate(boxes):
        image = np.zeros((200, 200), np.uint8)
        cv2.rectangle(image, box[:2].tolist(), (box[2:] - 1).tolist(), 255, -1)
        window = image[50:150, 30:130]
        seen = boxes_in_window(boxes[index : index + 1], (30, 50), 100)
        ys, xs = np.nonzero(window)
        if len(xs) == 0:
            assert len(seen.whole) == len(seen.cut) == 0
            continue
        drawn = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        np.testing.assert_array_equal(np.vstack([seen.whole_xyxy, seen.cut_xyxy]), [drawn])
        assert len(seen.whole) == (window.sum() == image.sum())


def test_boxes_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(N, 4\). Received: \(3,\)"):
        boxes_in_window(np.zeros(3), (0, 0), 5)


def test_window_may_be_wider_than_high():
    seen = boxes_in_window(np.array([[12, 22, 18, 28], [12, 22, 18, 33], [45, 22, 55, 28]]), (10, 20), (40, 10))
    np.testing.assert_array_equal(seen.whole, [0])
    np.testing.assert_array_equal(seen.cut_xyxy, [[2, 2, 8, 10], [35, 2, 40, 8]])
