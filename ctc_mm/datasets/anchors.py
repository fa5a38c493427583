"""How well anchors fit the boxes of a data set, and anchors by k-means on 1 - IoU; NumPy only.

Redmon and Farhadi, YOLO9000 (2017), section 2 "Dimension Clusters": the distance of a box to a cluster is one minus
their intersection over union with centres laid on each other, so that large boxes weigh no more than small ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EPS = 1e-9
MAX_ROUNDS = 300


@dataclass(frozen=True)
class AnchorLevel:
    """The anchors of one feature map.

    Attributes:
        first_xyxy: float (K, 4), anchors of the first place of the map, in px of the network's input.
        stride_xy: px from one place to the next.
        grid_wh: places of the map.
    """

    first_xyxy: np.ndarray
    stride_xy: tuple[float, float]
    grid_wh: tuple[int, int]

    @property
    def sizes_wh(self) -> np.ndarray:
        """Float (K, 2), width and height of each anchor in px."""
        return self.first_xyxy[:, 2:] - self.first_xyxy[:, :2]


@dataclass(frozen=True)
class AnchorCoverage:
    """How well anchors meet the boxes of a class.

    Attributes:
        name: of the class.
        boxes: their number; the shares are NaN where it is 0.
        shape_recall: share with an anchor of at least ``iou_threshold`` when both have one centre.
        grid_recall: the same with the anchors where they really lie.
        shape_mean_iou: mean over boxes of the best IoU with one centre.
        grid_mean_iou: mean over boxes of the best IoU where they lie.
    """

    name: str
    boxes: int
    shape_recall: float
    grid_recall: float
    shape_mean_iou: float
    grid_mean_iou: float


def shape_iou(boxes_wh: np.ndarray, anchors_wh: np.ndarray) -> np.ndarray:
    """IoU of boxes and anchors whose centres lie on each other.

    Args:
        boxes_wh: float (N, 2), px.
        anchors_wh: float (K, 2), px.

    Returns:
        Float64 (N, K).
    """
    boxes, anchors = np.asarray(boxes_wh, float)[:, None], np.asarray(anchors_wh, float)[None]
    common = np.minimum(boxes, anchors).prod(axis=2)
    return common / np.maximum(boxes.prod(axis=2) + anchors.prod(axis=2) - common, EPS)


def best_grid_iou(boxes_xyxy: np.ndarray, levels: Sequence[AnchorLevel]) -> np.ndarray:
    """Each box's best IoU with any anchor of any level, exactly, without laying out all anchors.

    The overlap of two boxes of given sizes falls with the distance of their centres along either axis; so of one
    anchor's places the nearest to the box is the best.

    Args:
        boxes_xyxy: float (N, 4), px of the network's input.
        levels: of the anchors.

    Returns:
        Float64 (N, ); 0 without anchors.
    """
    boxes = np.asarray(boxes_xyxy, float).reshape(-1, 4)
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    best = np.zeros(len(boxes))
    for level in levels:
        stride, last = np.array(level.stride_xy, float), np.array(level.grid_wh) - 1
        first = (level.first_xyxy[:, :2] + level.first_xyxy[:, 2:]) / 2
        place = np.clip(np.rint((centres[:, None] - first) / stride), 0, last)
        distance = np.abs(centres[:, None] - first - place * stride)
        anchors = level.sizes_wh[None]
        # Of two intervals: the overlap of their halves towards each other, at most the shorter one.
        common = np.minimum((sizes[:, None] + anchors) / 2 - distance, np.minimum(sizes[:, None], anchors))
        common = np.clip(common, 0, None).prod(axis=2)
        union = sizes.prod(axis=1)[:, None] + anchors.prod(axis=2) - common
        best = np.maximum(best, (common / np.maximum(union, EPS)).max(axis=1, initial=0))
    return best


def fit_shapes(
    boxes_wh: np.ndarray, count: int, seed: int = 0, weights: np.ndarray | None = None, restarts: int = 10
) -> np.ndarray:
    """Shapes of ``count`` anchors by k-means on 1 - IoU; the best of several beginnings.

    A beginning takes boxes by chance, far ones rather than near ones (k-means++ with this distance); a centre is the
    mean of its boxes' widths and heights, as in the paper; the round with the best mean IoU is kept.

    Args:
        boxes_wh: float (N, 2), px.
        count: of shapes, K.
        seed: of the beginnings.
        weights: float (N, ), of each box; None: all alike.
        restarts: beginnings.

    Returns:
        Float64 (K, 2), smallest area first.

    Raises:
        ValueError: fewer different boxes than shapes, or a box without area.
    """
    boxes = np.asarray(boxes_wh, float).reshape(-1, 2)
    if not np.isfinite(boxes).all() or (boxes <= 0).any():
        raise ValueError("anchors cannot be fitted: boxes_wh holds a box without area, or one that is not finite")
    different = len(np.unique(boxes, axis=0))
    if count < 1 or different < count:
        raise ValueError(
            f"{count} anchor shapes cannot be fitted to {different} different boxes; ask for at most as many shapes as "
            "there are different boxes, and at least one"
        )
    weights = np.ones(len(boxes)) if weights is None else np.asarray(weights, float)
    generator = np.random.default_rng(seed)
    runs = [_cluster(boxes, _beginning(boxes, weights, count, generator), weights) for _ in range(restarts)]
    shapes = max(runs, key=lambda run: mean_best(shape_iou(boxes, run), weights))
    return shapes[np.lexsort((shapes[:, 0], shapes.prod(axis=1)))]


def mean_best(iou: np.ndarray, weights: np.ndarray) -> float:
    """Weighted mean over boxes of the best IoU in each row of float (N, K)."""
    return float(np.average(iou.max(axis=1), weights=weights))


def _beginning(boxes: np.ndarray, weights: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    centres = boxes[[generator.choice(len(boxes), p=weights / weights.sum())]]
    while len(centres) < count:
        distance = 1 - shape_iou(boxes, centres).max(axis=1)
        chance = np.maximum(distance, 0) ** 2 * weights
        centres = np.vstack([centres, boxes[generator.choice(len(boxes), p=chance / chance.sum())]])
    return centres


def _cluster(boxes: np.ndarray, centres: np.ndarray, weights: np.ndarray) -> np.ndarray:
    best, best_value, members = centres, mean_best(shape_iou(boxes, centres), weights), None
    for _ in range(MAX_ROUNDS):
        nearest = shape_iou(boxes, centres).argmax(axis=1)
        if members is not None and np.array_equal(nearest, members):
            break
        members = nearest
        totals = np.bincount(members, weights, len(centres))
        filled = totals > 0  # a centre that lost all its boxes stays
        sums = np.column_stack([np.bincount(members, weights * side, len(centres)) for side in boxes.T])
        centres = np.where(filled[:, None], sums / np.maximum(totals, EPS)[:, None], centres)
        value = mean_best(shape_iou(boxes, centres), weights)
        if value > best_value:  # the mean lowers this distance mostly, not always
            best, best_value = centres, value
    return best


def class_weights(labels: np.ndarray) -> np.ndarray:
    """Weights of boxes with which every class that occurs counts the same, 1 on average; float64 (N, )."""
    labels = np.asarray(labels, int)
    counts = np.bincount(labels)
    return len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)[labels])


def measure_coverage(
    boxes_xyxy: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    levels: Sequence[AnchorLevel],
    iou_threshold: float = 0.5,
) -> list[AnchorCoverage]:
    """How well anchors meet the boxes: of all classes together, then of each.

    Args:
        boxes_xyxy: float (N, 4), px of the network's input.
        labels: int (N, ), index of the class.
        classes: names.
        levels: of the anchors.
        iou_threshold: from which an anchor meets a box.
    """
    boxes, labels = np.asarray(boxes_xyxy, float).reshape(-1, 4), np.asarray(labels, int)
    shapes = np.vstack([level.sizes_wh for level in levels])
    by_shape = shape_iou(boxes[:, 2:] - boxes[:, :2], shapes).max(axis=1, initial=0)
    on_grid = best_grid_iou(boxes, levels)
    parts = [("all", np.ones(len(boxes), bool)), *((name, labels == index) for index, name in enumerate(classes))]
    return [_coverage(name, by_shape[of_class], on_grid[of_class], iou_threshold) for name, of_class in parts]


def _coverage(name: str, by_shape: np.ndarray, on_grid: np.ndarray, threshold: float) -> AnchorCoverage:
    if not len(by_shape):
        return AnchorCoverage(name, 0, *[float("nan")] * 4)
    recalls = [float((iou >= threshold).mean()) for iou in (by_shape, on_grid)]
    return AnchorCoverage(name, len(by_shape), *recalls, float(by_shape.mean()), float(on_grid.mean()))
