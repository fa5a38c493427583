"""From what a detector found in each window to the cells of a slide: ownership, and suppression at seams only.

A cell belongs to the window in whose core its centre lies. Two windows place a centre a little apart, so near a seam
one cell may have two owners or none; therefore detections a little outside their window's core stay as *guests*, and
where windows differ about one cell, owners go before guests and better scores before worse. A guest that repeats its
owner is the neighbour's (``other_window``); ``seam_duplicate`` counts what only this net caught: cells with two owners,
or with none and two guests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ctc_mm.counting.windows import WindowGrid, check_overlap

# Boxes of one cell: half of their union shared, or one nearly inside the other (a cell cut by its window's edge).
SAME_CELL_IOU = 0.5
SAME_CELL_INSIDE = 0.8
# A guest's centre lies at most this share of the overlap outside the core: far more than windows disagree by.
GUEST_SHARE = 0.25
# A box with less than this share on the slide is the mirror image of a cell at its edge.
LEAST_SHARE_ON_SLIDE = 0.25

TOO_LARGE, OUTSIDE, OTHER_WINDOW = "too_large", "outside_slide", "other_window"
SEAM_DUPLICATE, OTHER_CLASS, DROPPED_WINDOW = "seam_duplicate", "other_class", "dropped_window"
DOUBTFUL_INSIDE = "doubtful_inside_a_cell"
REASONS = (TOO_LARGE, OUTSIDE, OTHER_WINDOW, DROPPED_WINDOW, SEAM_DUPLICATE, DOUBTFUL_INSIDE, OTHER_CLASS)


@dataclass(frozen=True, eq=False)
class SlideDetections:
    """What was found in the windows of a slide, N detections.

    Attributes:
        boxes_xyxy: float64 (N, 4), pixels of the slide.
        scores: float64 (N,).
        labels: int64 (N,), places of classes.
        windows: int64 (N,), the windows they were found in.

    Raises:
        ValueError: the lengths differ, or a box or score is not finite.
    """

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    windows: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes_xyxy", np.asarray(self.boxes_xyxy, np.float64).reshape(-1, 4))
        object.__setattr__(self, "scores", np.asarray(self.scores, np.float64).reshape(-1))
        for name in ("labels", "windows"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.int64).reshape(-1))
        lengths = {len(self.boxes_xyxy), len(self.scores), len(self.labels), len(self.windows)}
        if len(lengths) > 1:
            raise ValueError(f"boxes, scores, labels and windows must be of one length. Received: {sorted(lengths)}")
        if not (np.isfinite(self.boxes_xyxy).all() and np.isfinite(self.scores).all()):
            raise ValueError(
                "boxes and scores must be finite; the model gave NaN or infinite values: its weights are bad"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: np.ndarray) -> SlideDetections:
        """Some of them, by places or a mask."""
        return SlideDetections(self.boxes_xyxy[chosen], self.scores[chosen], self.labels[chosen], self.windows[chosen])


@dataclass(frozen=True)
class MergeRules:
    """What decides which detections become cells.

    Attributes:
        thresholds: of each class, in the order of labels, above 0.
        target: label of the class that is counted.
        doubt: candidates of the target from this share of its threshold on are kept, as doubtful.
        max_cell_px: longer side of the largest allowed box, in pixels of the slide. What is larger is no cell; of the
            target, from its threshold on, it is kept as too large (a cluster).
        dropped_windows: windows that were not analysed: nothing is counted in their cores.

    Raises:
        ValueError: a number out of its range.
    """

    thresholds: Sequence[float]
    target: int
    doubt: float
    max_cell_px: float
    dropped_windows: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if not self.thresholds or min(self.thresholds) <= 0:
            raise ValueError(f"`thresholds` must be above 0, one a class. Received: {tuple(self.thresholds)}")
        if not 0 <= self.target < len(self.thresholds):
            raise ValueError(f"`target` must be a label of {len(self.thresholds)} classes. Received: {self.target}")
        if not 0 < self.doubt <= 1:
            raise ValueError(f"`doubt` must be above 0 and at most 1 (no doubtful cells). Received: {self.doubt}")
        if not self.max_cell_px > 0:
            raise ValueError(f"`max_cell_px` must be above 0. Received: {self.max_cell_px}")

    def least_scores(self) -> np.ndarray:
        """From which score a detection of each class is kept, float64 (C,)."""
        least = np.array(self.thresholds, np.float64)
        least[self.target] *= self.doubt
        return least


@dataclass(frozen=True, eq=False)
class MergedCells:
    """The cells of a slide, M of them, in order of windows.

    Attributes:
        found: boxes (inside the slide), scores, labels, windows.
        is_doubtful: bool (M,), the target's score is below its threshold.
        is_guest: bool (M,), no window claims it as its own; two windows place its centre on each other's side.
        is_disputed: bool (M,), another class was found in its place.
        is_too_large: bool (M,), no single cell; its window may show a part of it only.
        class_scores: float64 (M, C), the best score of each class in its place; NaN where none was found.
        removals: how many detections were removed, by reason; every reason is there.
    """

    found: SlideDetections
    is_doubtful: np.ndarray
    is_guest: np.ndarray
    is_disputed: np.ndarray
    is_too_large: np.ndarray
    class_scores: np.ndarray
    removals: Mapping[str, int]


def merge_windows(found: SlideDetections, grid: WindowGrid, rules: MergeRules) -> MergedCells:
    """Make the cells of a slide of what was found in its windows; the order of ``found`` does not matter.

    Args:
        found: detections in pixels of the slide; those below ``rules.least_scores`` are passed over.
        grid: the windows.
        rules: thresholds and limits.

    Raises:
        ValueError: the windows' overlap does not exceed the largest allowed cell.
    """
    check_overlap(grid.overlap_px, rules.max_cell_px)
    removals: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
    found = _in_order(found.take(found.scores >= rules.least_scores()[found.labels]))
    found = _clip(found, grid.size_wh, removals)
    # A cell at the edge is seen together with its mirror image, so only what lies on the slide is measured.
    is_cluster = (found.labels == rules.target) & (found.scores >= rules.thresholds[rules.target])
    found = _keep(found, is_cluster | ~_too_large(found, rules), TOO_LARGE, removals)
    found, is_guest = _owned(found, grid, rules, removals)
    relative, is_too_large = found.scores / np.array(rules.thresholds)[found.labels], _too_large(found, rules)
    kept, losers = _suppress(found, is_guest, is_too_large, relative)
    class_scores = _class_scores(found, losers, len(rules.thresholds))
    is_disputed = np.zeros(len(found), bool)
    for winner, lost in losers.items():
        is_disputed[winner] = any(found.labels[loser] != found.labels[winner] for loser in lost)
        for loser in lost:
            removals[_reason(found, is_guest, winner, loser)] += 1
    return MergedCells(
        found=found.take(kept),
        is_doubtful=relative[kept] < 1,
        is_guest=is_guest[kept],
        is_disputed=is_disputed[kept],
        is_too_large=is_too_large[kept],
        class_scores=class_scores[kept],
        removals=dict(removals),
    )


def _reason(found: SlideDetections, is_guest: np.ndarray, winner: int, loser: int) -> str:
    """Why one of two rivals was removed."""
    if found.labels[winner] != found.labels[loser]:
        return OTHER_CLASS
    if found.windows[winner] == found.windows[loser]:
        return DOUBTFUL_INSIDE
    return OTHER_WINDOW if is_guest[loser] and not is_guest[winner] else SEAM_DUPLICATE


def _in_order(found: SlideDetections) -> SlideDetections:
    keys = (*found.boxes_xyxy.T[::-1], -found.scores, found.labels, found.windows)
    return found.take(np.lexsort(keys))


def _keep(found: SlideDetections, mask: np.ndarray, reason: str, removals: Counter[str]) -> SlideDetections:
    removals[reason] += int(np.count_nonzero(~mask))
    return found.take(mask)


def _sides(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Longer side of each box."""
    return (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1, initial=0)


def _too_large(found: SlideDetections, rules: MergeRules) -> np.ndarray:
    return _sides(found.boxes_xyxy) > rules.max_cell_px


def _areas(boxes_xyxy: np.ndarray) -> np.ndarray:
    return np.prod(np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0), axis=1)


def _clip(found: SlideDetections, size_wh: tuple[int, int], removals: Counter[str]) -> SlideDetections:
    """Cut boxes at the slide's edges; those that hardly lie on it (or have no area) go."""
    clipped = np.clip(found.boxes_xyxy, 0, np.array([*size_wh, *size_wh]))
    areas = _areas(clipped)
    on_slide = (areas > 0) & (areas >= LEAST_SHARE_ON_SLIDE * _areas(found.boxes_xyxy))
    clipped_found = SlideDetections(clipped, found.scores, found.labels, found.windows)
    return _keep(clipped_found, on_slide, OUTSIDE, removals)


def _owned(
    found: SlideDetections, grid: WindowGrid, rules: MergeRules, removals: Counter[str]
) -> tuple[SlideDetections, np.ndarray]:
    """Owners and guests, and which are guests."""
    centres = (found.boxes_xyxy[:, :2] + found.boxes_xyxy[:, 2:]) / 2
    owners = grid.owners_of(centres)
    near = grid.outside_core_px(centres, found.windows) <= GUEST_SHARE * grid.overlap_px
    removals[OTHER_WINDOW] += int(np.count_nonzero(~near))
    lost = near & np.isin(owners, sorted(rules.dropped_windows))
    removals[DROPPED_WINDOW] += int(np.count_nonzero(lost))
    kept = near & ~lost
    return found.take(kept), (owners != found.windows)[kept]


def _suppress(
    found: SlideDetections, is_guest: np.ndarray, is_too_large: np.ndarray, relative: np.ndarray
) -> tuple[np.ndarray, dict[int, list[int]]]:
    """Places that stay, rising, and the places that lost to each of them."""
    rivals: dict[int, list[int]] = {}
    for first, second in _rival_pairs(found, relative < 1, is_too_large):
        rivals.setdefault(first, []).append(second)
        rivals.setdefault(second, []).append(first)
    gone: set[int] = set()
    losers: dict[int, list[int]] = {}
    for place in sorted(rivals, key=lambda one: (bool(is_guest[one]), -relative[one], one)):
        if place not in gone:
            lost = sorted(set(rivals[place]) - gone)
            losers[place] = lost
            gone.update(lost)
    kept = np.ones(len(found), bool)
    kept[sorted(gone)] = False
    return np.flatnonzero(kept), losers


def _rival_pairs(found: SlideDetections, is_doubtful: np.ndarray, is_too_large: np.ndarray) -> list[tuple[int, int]]:
    """Pairs that are one cell: of one class in two windows, of two classes anywhere, or a doubtful box inside a cell.

    Two boxes of one class in one window are told apart by the network's own suppression; cells inside what is too large
    for one are its members, not its doubles.
    """
    if len(found) < 2:
        return []
    boxes = found.boxes_xyxy
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    # One centre lies in the other box, along each axis, where two boxes are alike enough.
    reach = _sides(boxes).max() / 2
    pairs = cKDTree(centres).query_pairs(reach, p=np.inf, output_type="ndarray")
    one, two = pairs[:, 0], pairs[:, 1]
    same_class = found.labels[one] == found.labels[two]
    one_doubtful = is_doubtful[one] != is_doubtful[two]
    may_meet = ~same_class | one_doubtful | (found.windows[one] != found.windows[two])
    one, two, same_class, one_doubtful = one[may_meet], two[may_meet], same_class[may_meet], one_doubtful[may_meet]
    shared = _areas(
        np.concatenate([np.maximum(boxes[one, :2], boxes[two, :2]), np.minimum(boxes[one, 2:], boxes[two, 2:])], axis=1)
    )
    areas = _areas(boxes)
    alike = shared >= SAME_CELL_IOU * (areas[one] + areas[two] - shared)
    inside = shared >= SAME_CELL_INSIDE * np.minimum(areas[one], areas[two])
    members = is_too_large[one] != is_too_large[two]
    rival = alike | (inside & (same_class | one_doubtful) & ~members)
    return sorted(zip(one[rival].tolist(), two[rival].tolist(), strict=True))


def _class_scores(found: SlideDetections, losers: Mapping[int, list[int]], n_classes: int) -> np.ndarray:
    """Best score of each class in each place; NaN where none was found."""
    scores = np.full((len(found), n_classes), np.nan)
    scores[np.arange(len(found)), found.labels] = found.scores
    for winner, lost in losers.items():
        for loser in lost:
            label = found.labels[loser]
            if label != found.labels[winner]:
                scores[winner, label] = np.fmax(scores[winner, label], found.scores[loser])
    return scores
