"""Exact truth of a synthetic imFISH field: one row a nucleus, one row a CEP8 signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

# Ways to lay a square block: bit 2 exchanges the axes, then bit 1 mirrors the rows and bit 0 the columns.
ORIENTATIONS = 8


@dataclass(frozen=True)
class ImFISHTruth:
    """What was drawn; row i of every nucleus' array is one nucleus.

    Points are in pixel indices (the middle of the first pixel is 0, 0), boxes are half-open pixels.

    Attributes:
        boxes_xyxy: (N, 4) float32, tight around what is visible of the nucleus; NaN where nothing is.
        centroids_yx: (N, 2) float32, middle of what is visible; NaN where nothing is.
        population: (N,) int64, index into ``IMFISH_POPULATIONS``.
        diameters_um: (N,) float32, mean diameter of the nucleus.
        cd45_positive: (N,) bool.
        cep8_counts: (N,) int64, all signals of the nucleus, also those that lie over one another.
        cep8_resolvable: (N,) int64, signals counted as an eye can: those closer to one another than a signal's full
            width at half maximum are one.
        is_single: (N,) bool, no member of an overlap or aggregate.
        on_border: (N,) bool, cut by the image's edge.
        in_focus: (N,) bool.
        spots_yx: (S, 2) float32.
        spot_nuclei: (S,) int64, row of the nucleus that holds the signal.
    """

    boxes_xyxy: np.ndarray
    centroids_yx: np.ndarray
    population: np.ndarray
    diameters_um: np.ndarray
    cd45_positive: np.ndarray
    cep8_counts: np.ndarray
    cep8_resolvable: np.ndarray
    is_single: np.ndarray
    on_border: np.ndarray
    in_focus: np.ndarray
    spots_yx: np.ndarray
    spot_nuclei: np.ndarray

    @property
    def is_ctc(self) -> np.ndarray:
        """(N,) bool: DAPI+, CD45- and CEP8 >= 3 (paper imfish-cnn-2022, "Detection Standard of CTCs")."""
        return ~self.cd45_positive & (self.cep8_counts >= 3)

    @property
    def is_interpretable(self) -> np.ndarray:
        """(N,) bool: whole, in focus and alone, so that the rule gives a verdict on it (its criterion 1)."""
        return self.is_single & ~self.on_border & self.in_focus & np.isfinite(self.boxes_xyxy[:, 0])

    def __len__(self) -> int:
        return len(self.population)

    def oriented(self, orientation: int, side_px: int) -> ImFISHTruth:
        """Give the truth of a square field of ``side_px`` laid in one of ``ORIENTATIONS`` (see ``orient``)."""
        boxes, centroids, spots = self.boxes_xyxy, self.centroids_yx, self.spots_yx
        if orientation & 4:
            boxes, centroids, spots = boxes[:, [1, 0, 3, 2]], centroids[:, ::-1], spots[:, ::-1]
        for bit, axis in ((2, 0), (1, 1)):
            if orientation & bit:
                # x is column 0 of a box and column 1 of a point.
                boxes = _mirrored_boxes(boxes, 1 - axis, side_px)
                centroids, spots = _mirrored(centroids, axis, side_px), _mirrored(spots, axis, side_px)
        return replace(self, boxes_xyxy=boxes, centroids_yx=centroids, spots_yx=spots)

    def shifted(self, offset_xy: tuple[int, int]) -> ImFISHTruth:
        """Give the truth with every coordinate moved by ``offset_xy`` pixels."""
        x, y = offset_xy
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy + np.float32([x, y, x, y]),
            centroids_yx=self.centroids_yx + np.float32([y, x]),
            spots_yx=self.spots_yx + np.float32([y, x]),
        )


def orient(image: np.ndarray, orientation: int) -> np.ndarray:
    """Lay the last two axes of an array in one of ``ORIENTATIONS`` (a view)."""
    if orientation & 4:
        image = image.swapaxes(-1, -2)
    if orientation & 2:
        image = image[..., ::-1, :]
    return image[..., ::-1] if orientation & 1 else image


def join_truths(truths: Sequence[ImFISHTruth]) -> ImFISHTruth:
    """Put the rows of several truths, at least one, below one another."""
    joined = {one.name: np.concatenate([getattr(truth, one.name) for truth in truths]) for one in fields(ImFISHTruth)}
    starts = np.cumsum([0, *(len(truth) for truth in truths[:-1])])
    joined["spot_nuclei"] = np.concatenate(
        [truth.spot_nuclei + start for truth, start in zip(truths, starts, strict=True)]
    )
    return ImFISHTruth(**joined)


def resolvable_count(spots_yx: np.ndarray, sigmas_px: np.ndarray) -> int:
    """Count signals as an eye can: those closer than the full width at half maximum of a signal are one.

    Args:
        spots_yx: (N, 2) middles in pixels.
        sigmas_px: (N,) standard deviation of each as it is seen.
    """
    group = np.arange(len(spots_yx))
    for i in range(len(spots_yx)):
        for j in range(i):
            width = 2.355 * np.sqrt((sigmas_px[i] ** 2 + sigmas_px[j] ** 2) / 2)
            if np.linalg.norm(spots_yx[i] - spots_yx[j]) < width:
                group[group == group[i]] = group[j]
    return len(np.unique(group))


def _mirrored(points: np.ndarray, axis: int, side_px: int) -> np.ndarray:
    mirrored = points.copy()
    mirrored[:, axis] = side_px - 1 - points[:, axis]
    return mirrored


def _mirrored_boxes(boxes: np.ndarray, axis: int, side_px: int) -> np.ndarray:
    mirrored = boxes.copy()
    mirrored[:, axis], mirrored[:, axis + 2] = side_px - boxes[:, axis + 2], side_px - boxes[:, axis]
    return mirrored
