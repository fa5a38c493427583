"""Matching of predicted points (spots, centres of cells) to true ones, and what is counted from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class PointMatches:
    """Which predicted point is which true one in one image.

    Attributes:
        truth_index: index of the true point, -1 for a false one; int64 (predictions,).
        distance_px: to it; NaN for a false one; float64 (predictions,).
        n_truth: how many true points there are.
    """

    truth_index: np.ndarray
    distance_px: np.ndarray
    n_truth: int

    @property
    def is_tp(self) -> np.ndarray:
        """Whether each prediction is a true one, bool (predictions,)."""
        return self.truth_index >= 0


@dataclass(frozen=True)
class PointScore:
    """Counts over a set of images, as plain numbers.

    Attributes:
        tp: predictions matched to a true point.
        fp: predictions without one.
        fn: true points without a prediction.
        count_mae: mean over the images of how far the number of predictions is off; NaN without images.
        localisation_px: mean distance of the matched pairs; NaN without any.
        n_images: how many images were scored.
    """

    tp: int
    fp: int
    fn: int
    count_mae: float
    localisation_px: float
    n_images: int

    @property
    def precision(self) -> float:
        """Share of the predictions that are true; 1 without predictions, as none is false."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 1.0

    @property
    def recall(self) -> float:
        """Share of the true points that were found; 1 without truth, as none was missed."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 where there is neither truth nor prediction, 0 where only one."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp + self.fp + self.fn else 1.0

    def to_dict(self) -> dict[str, float | int]:
        """The counts and ratios as JSON values."""
        names = ("tp", "fp", "fn", "precision", "recall", "f1", "count_mae", "localisation_px", "n_images")
        return {name: getattr(self, name) for name in names}


def match_points(predicted_yx: np.ndarray, truth_yx: np.ndarray, radius_px: float) -> PointMatches:
    """Match points one to one: as many pairs within the radius as possible, and of these choices the closest pairs.

    Pairs farther apart than the radius are ruled out before the assignment, so none of them takes a partner away.

    Args:
        predicted_yx: float (N, 2), pixels.
        truth_yx: float (M, 2), pixels.
        radius_px: farthest that a prediction may lie from its true point, inclusive.

    Raises:
        ValueError: arrays that are not (N, 2), coordinates that are not finite, a radius that is not positive.
    """
    predicted_yx, truth_yx = _points(predicted_yx, "predicted_yx"), _points(truth_yx, "truth_yx")
    if not (np.isfinite(radius_px) and radius_px > 0):
        raise ValueError(f"`radius_px` must be a positive number. Received: {radius_px!r}")
    truth_index = np.full(len(predicted_yx), -1, np.int64)
    distance_px = np.full(len(predicted_yx), np.nan)
    for rows, columns in _groups(predicted_yx, truth_yx, radius_px):
        apart = np.linalg.norm(predicted_yx[rows, None] - truth_yx[columns], axis=2)
        near = apart <= radius_px
        # One pair more outweighs any saving of distance.
        ruled_out = (min(len(rows), len(columns)) + 1) * radius_px
        for row, column in zip(*linear_sum_assignment(np.where(near, apart, ruled_out)), strict=True):
            if near[row, column]:
                truth_index[rows[row]], distance_px[rows[row]] = columns[column], apart[row, column]
    return PointMatches(truth_index, distance_px, len(truth_yx))


def score_points(images: Iterable[PointMatches]) -> PointScore:
    """Sum the matches of a set of images."""
    images = list(images)
    tp = sum(int(image.is_tp.sum()) for image in images)
    predictions, truth = sum(len(image.truth_index) for image in images), sum(image.n_truth for image in images)
    off = [abs(len(image.truth_index) - image.n_truth) for image in images]
    distances = np.concatenate([np.empty(0), *(image.distance_px[image.is_tp] for image in images)])
    return PointScore(
        tp=tp,
        fp=predictions - tp,
        fn=truth - tp,
        count_mae=float(np.mean(off)) if off else float("nan"),
        localisation_px=float(distances.mean()) if len(distances) else float("nan"),
        n_images=len(images),
    )


def _points(points_yx: np.ndarray, name: str) -> np.ndarray:
    points_yx = np.asarray(points_yx, np.float64)
    if points_yx.ndim != 2 or points_yx.shape[1] != 2:
        raise ValueError(f"`{name}` must have shape (N, 2). Received: {points_yx.shape}")
    if not np.isfinite(points_yx).all():
        raise ValueError(f"`{name}` must be finite. Received: {int((~np.isfinite(points_yx)).sum())} that are not")
    return points_yx


def _groups(predicted_yx: np.ndarray, truth_yx: np.ndarray, radius_px: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Predictions and true points that can compete for each other: an assignment each, instead of one huge one."""
    if not len(predicted_yx) or not len(truth_yx):
        return []
    # A little wider than the radius: rounding may not lose a pair that lies on it.
    near = cKDTree(predicted_yx).query_ball_tree(cKDTree(truth_yx), radius_px * (1 + 1e-9))
    rows = np.repeat(np.arange(len(near)), [len(found) for found in near])
    columns = np.array([column for found in near for column in found], np.int64)
    size = len(predicted_yx) + len(truth_yx)
    links = coo_array((np.ones(len(rows), bool), (rows, columns + len(predicted_yx))), shape=(size, size))
    labels = connected_components(links, directed=False)[1]
    order = np.argsort(labels, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    groups = [(part[part < len(predicted_yx)], part[part >= len(predicted_yx)] - len(predicted_yx)) for part in members]
    return [(rows, columns) for rows, columns in groups if len(rows) and len(columns)]
