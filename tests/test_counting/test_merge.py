"""From windows to cells: each cell once, none lost at seams, every removal counted."""

import numpy as np
import pytest

from ctc_mm.counting.merge import (
    DOUBTFUL_INSIDE,
    DROPPED_WINDOW,
    OTHER_CLASS,
    OTHER_WINDOW,
    OUTSIDE,
    REASONS,
    SEAM_DUPLICATE,
    TOO_LARGE,
    MergeRules,
    SlideDetections,
    merge_windows,
)
from ctc_mm.counting.windows import WindowGrid

# Windows 0-100 and 80-180 ... ; cores 0-90, 90-170, 170-250.
GRID = WindowGrid((250, 40), (100, 100), 20)
RULES = MergeRules(thresholds=(0.5, 0.4), target=0, doubt=0.5, max_cell_px=19)


def square(x, y, side=12):
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def merge(*rows, grid=GRID, rules=RULES):
    """Rows of (box, score, label, window)."""
    boxes, scores, labels, windows = zip(*rows, strict=True) if rows else ([], [], [], [])
    return merge_windows(SlideDetections(boxes, scores, labels, windows), grid, rules)


def counted(merged):
    return {reason: count for reason, count in merged.removals.items() if count}


def test_nothing_found():
    merged = merge()
    assert len(merged.found) == 0
    assert merged.removals == dict.fromkeys(REASONS, 0)
    assert merged.class_scores.shape == (0, 2)


def test_thresholds_and_doubt():
    merged = merge(
        (square(20, 20), 0.5, 0, 0),
        (square(40, 20), 0.25, 0, 0),
        (square(60, 20), 0.2499, 0, 0),
        (square(20, 8), 0.4, 1, 0),
        (square(40, 8), 0.3, 1, 0),  # doubt is for the target only
    )
    assert merged.found.boxes_xyxy[:, :2].tolist() == [[14, 14], [34, 14], [14, 2]]
    assert merged.is_doubtful.tolist() == [False, True, False]
    assert counted(merged) == {}


def test_no_doubtful_cells_on_request():
    rules = MergeRules((0.5,), 0, 1.0, 19)
    assert len(merge((square(20, 20), 0.49, 0, 0), rules=rules).found) == 0


def test_a_cell_seen_by_two_windows_belongs_to_one():
    merged = merge((square(82, 20), 0.7, 0, 0), (square(82.4, 20), 0.9, 0, 1))
    assert merged.found.windows.tolist() == [0]
    assert merged.found.scores.tolist() == [0.7]
    assert counted(merged) == {OTHER_WINDOW: 1}


def test_owner_goes_before_a_better_guest():
    merged = merge((square(88, 20), 0.6, 0, 0), (square(88.5, 20), 0.9, 0, 1))
    assert merged.found.scores.tolist() == [0.6]
    assert merged.is_guest.tolist() == [False]
    # The neighbour's cell seen once more: nothing that only the net would have caught.
    assert counted(merged) == {OTHER_WINDOW: 1}


def test_each_window_sees_the_centre_on_its_own_side():
    merged = merge((square(89.8, 20), 0.6, 0, 0), (square(90.2, 20), 0.9, 0, 1))
    assert merged.found.scores.tolist() == [0.9]
    assert counted(merged) == {SEAM_DUPLICATE: 1}


def test_each_window_sees_the_centre_on_the_other_side():
    merged = merge((square(90.2, 20), 0.6, 0, 0), (square(89.8, 20), 0.9, 0, 1))
    assert merged.found.scores.tolist() == [0.9]
    assert merged.is_guest.tolist() == [True]
    assert counted(merged) == {SEAM_DUPLICATE: 1}


def test_a_guest_without_an_owner_stays():
    merged = merge((square(94, 20), 0.6, 0, 0))
    assert merged.is_guest.tolist() == [True]
    assert counted(merge((square(96, 20), 0.6, 0, 0))) == {OTHER_WINDOW: 1}


def test_touching_cells_across_a_seam_are_two():
    merged = merge((square(84, 20), 0.6, 0, 0), (square(96, 20), 0.6, 0, 1))
    assert len(merged.found) == 2
    # A third of their union shared: still two.
    assert len(merge((square(87, 20), 0.6, 0, 0), (square(93, 20), 0.6, 0, 1)).found) == 2


def test_part_of_a_cell_from_another_window():
    merged = merge(([80, 12, 96, 28], 0.6, 0, 0), ([83, 14, 95, 20], 0.9, 0, 1))
    assert merged.found.boxes_xyxy.tolist() == [[80, 12, 96, 28]]
    assert counted(merged) == {OTHER_WINDOW: 1}


def test_two_boxes_of_one_window_are_the_networks_affair():
    assert len(merge((square(40, 20), 0.6, 0, 0), (square(41, 20), 0.9, 0, 0)).found) == 2


def test_the_class_that_is_surest_against_its_threshold_wins():
    merged = merge((square(40, 20), 0.55, 0, 0), (square(40, 20), 0.5, 1, 0))
    assert merged.found.labels.tolist() == [1]  # 0.5 / 0.4 > 0.55 / 0.5
    assert merged.is_disputed.tolist() == [True]
    assert merged.class_scores.tolist() == [[0.55, 0.5]]
    assert counted(merged) == {OTHER_CLASS: 1}


def test_a_doubtful_target_loses_to_another_class():
    merged = merge((square(40, 20), 0.3, 0, 0), (square(40, 20), 0.4, 1, 0), (square(60, 20), 0.3, 0, 0))
    assert merged.found.boxes_xyxy[:, 0].tolist() == [54, 34]
    assert merged.found.labels.tolist() == [0, 1]
    assert merged.is_doubtful.tolist() == [True, False]
    assert np.isnan(merged.class_scores[0, 1])
    assert merged.class_scores[1].tolist() == [0.3, 0.4]


def test_a_doubtful_box_inside_a_cell_is_no_candidate():
    merged = merge(
        ([30, 12, 46, 28], 0.6, 0, 0),
        ([31, 13, 45, 20], 0.3, 0, 0),
        ([60, 12, 76, 28], 0.6, 1, 0),
        ([61, 13, 75, 20], 0.3, 0, 0),
    )
    assert merged.found.boxes_xyxy[:, 0].tolist() == [30, 60]
    assert counted(merged) == {DOUBTFUL_INSIDE: 1, OTHER_CLASS: 1}


def test_other_cells_nearby_are_no_dispute():
    merged = merge((square(40, 20), 0.55, 0, 0), (square(47, 20), 0.9, 1, 0))
    assert merged.is_disputed.tolist() == [False, False]


def test_boxes_at_the_edge_and_beyond():
    merged = merge(
        ([231, 10, 269, 22], 0.9, 0, 2),  # cut, and seen with its mirror image: 19 px on the slide
        ([248, 10, 262, 22], 0.9, 0, 2),  # the mirror image of a cell
        ([255, 10, 262, 22], 0.9, 0, 2),
        ([-3, -3, 6, 6], 0.9, 0, 0),
    )
    assert merged.found.boxes_xyxy.tolist() == [[0, 0, 6, 6], [231, 10, 250, 22]]
    assert counted(merged) == {OUTSIDE: 2}


def test_too_large_boxes():
    wide = square(40, 20, 19.1)
    merged = merge(
        (square(20, 20, 19), 0.9, 0, 0), (wide, 0.5, 0, 0), (wide, 0.9, 1, 0), (square(70, 20, 30), 0.49, 0, 0)
    )
    assert merged.found.boxes_xyxy.tolist() == [square(20, 20, 19), wide]
    assert merged.is_too_large.tolist() == [False, True]
    # Of another class, or below the threshold.
    assert counted(merged) == {TOO_LARGE: 2}


def test_a_cluster_that_two_windows_see_is_one_and_its_cells_stay():
    cluster = (square(84, 20, 30), 0.9, 0, 0)
    merged = merge(
        cluster, (square(84.5, 20, 31), 0.95, 0, 1), (square(86, 20), 0.8, 0, 0), (square(92, 20), 0.6, 0, 1)
    )
    assert merged.found.boxes_xyxy.tolist() == [square(84, 20, 30), square(86, 20), square(92, 20)]
    assert merged.is_too_large.tolist() == [True, False, False]
    assert counted(merged) == {OTHER_WINDOW: 1}


def test_nothing_is_counted_in_a_dropped_window():
    rules = MergeRules((0.5,), 0, 0.5, 19, dropped_windows=frozenset({1}))
    merged = merge((square(89, 20), 0.9, 0, 0), (square(92, 8), 0.9, 0, 0), rules=rules)
    assert merged.found.boxes_xyxy[:, 0].tolist() == [83]
    assert counted(merged) == {DROPPED_WINDOW: 1}


def test_order_of_what_is_found_does_not_matter():
    rng = np.random.default_rng(0)
    grid = WindowGrid((500, 500), (100, 100), 20)
    centres = rng.uniform(0, 500, (400, 2))
    boxes = np.concatenate([centres - 7, centres + 7], axis=1)
    found = SlideDetections(boxes, rng.uniform(0, 1, 400).round(1), rng.integers(0, 2, 400), grid.owners_of(centres))
    first = merge_windows(found, grid, RULES)
    second = merge_windows(found.take(rng.permutation(400)), grid, RULES)
    assert len(first.found) > 50
    for name in ("boxes_xyxy", "scores", "labels", "windows"):
        assert np.array_equal(getattr(first.found, name), getattr(second.found, name))
    assert first.removals == second.removals


@pytest.mark.parametrize("seed", range(3))
def test_a_perfect_detector_counts_every_cell_once(seed):
    # Windows disagree on a cell's place by a pixel or two, and cut boxes at their own edges.
    rng = np.random.default_rng(seed)
    grid = WindowGrid((500, 300), (100, 80), 20)
    ys, xs = np.mgrid[8:296:17, 8:496:17]
    cells = np.stack([xs.ravel(), ys.ravel()], axis=1) + rng.uniform(-1.5, 1.5, (xs.size, 2))
    rows = []
    for window, (x0, y0, x1, y1) in enumerate(grid.windows_xyxy()):
        for x, y in cells:
            moved = np.array(square(x, y)) + rng.normal(0, 0.7, 4)
            cut = np.clip(moved, [x0, y0, x0, y0], [x1, y1, x1, y1])
            if (cut[2:] - cut[:2]).min() > 3:
                rows.append((cut.tolist(), rng.uniform(0.5, 1), 0, window))
    merged = merge(*rows, grid=grid)
    boxes = merged.found.boxes_xyxy
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    nearest = np.linalg.norm(cells[:, None] - centres[None], axis=2).argmin(axis=0)
    assert sorted(nearest.tolist()) == list(range(len(cells)))
    # Most doubles lie in the neighbour's core; the net catches those whose centre windows place on both sides.
    assert 0 < merged.removals[SEAM_DUPLICATE] < merged.removals[OTHER_WINDOW] / 10
    assert len(rows) == len(cells) + sum(merged.removals.values())


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="of one length"):
        SlideDetections([[0, 0, 1, 1]], [0.5, 0.4], [0], [0])
    with pytest.raises(ValueError, match="its weights are bad"):
        SlideDetections([[0, 0, 1, np.nan]], [0.5], [0], [0])
    with pytest.raises(ValueError, match="overlap_px is 20, the largest cell 25 px"):
        merge(rules=MergeRules((0.5,), 0, 0.5, 25))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (((), 0, 0.5, 9), "`thresholds` must be above 0"),
        (((0.5, 0), 0, 0.5, 9), "`thresholds` must be above 0"),
        (((0.5,), 1, 0.5, 9), "`target` must be a label of 1 classes"),
        (((0.5,), 0, 0, 9), "`doubt` must be above 0"),
        (((0.5,), 0, 1.1, 9), "`doubt` must be above 0"),
        (((0.5,), 0, 0.5, 0), "`max_cell_px` must be above 0"),
    ],
)
def test_refused_rules(arguments, match):
    with pytest.raises(ValueError, match=match):
        MergeRules(*arguments)
