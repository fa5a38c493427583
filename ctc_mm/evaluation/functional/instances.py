"""Scores of instance segmentation: label images of cells or nuclei against true ones.

A predicted object and a true one match if their IoU (of pixels) reaches the threshold, one to one. True objects under
a given area are ignored: they are no misses, and a prediction that matches one is no false positive.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from ctc_mm.evaluation.functional.curves import mean_defined
from ctc_mm.evaluation.functional.records import Counts


@dataclass(frozen=True, eq=False)
class InstanceMatches:
    """How the objects of one image matched.

    Attributes:
        pairs: labels of matched objects, int64 (M, 2): predicted, true; sorted by the predicted label.
        false_positives: predicted labels that matched nothing, int64 (F,).
        missed: true labels that nothing matched, int64 (N,); ignored ones are not among them.
        ignored: predicted labels that matched an ignored true object, int64 (I,).
    """

    pairs: np.ndarray
    false_positives: np.ndarray
    missed: np.ndarray
    ignored: np.ndarray

    @property
    def counts(self) -> Counts:
        """Hits, false positives and misses; precision, recall and F1 are properties of these."""
        return Counts(len(self.pairs), len(self.false_positives), len(self.missed))

    @property
    def n_predicted(self) -> int:
        """Predicted objects that count."""
        return len(self.pairs) + len(self.false_positives)

    @property
    def n_truth(self) -> int:
        """True objects that count."""
        return len(self.pairs) + len(self.missed)


@dataclass(frozen=True)
class InstanceSummary:
    """Scores of a set of images.

    Attributes:
        counts: hits, false positives and misses of all images together; ``counts.f1`` is the pooled F1.
        f1_mean: mean over images of each image's F1; NaN without images.
        count_error: sum over images of ``|predicted - true|``, over the number of true objects; NaN without any.
        count_error_mean: mean over images with true objects of ``|predicted - true| / true``; NaN without any.
    """

    counts: Counts
    f1_mean: float
    count_error: float
    count_error_mean: float


def match_instances(
    labels: np.ndarray, truth: np.ndarray, iou_thr: float = 0.5, ignore_truth_under_px: int = 0
) -> InstanceMatches:
    """Match the objects of two label images one to one.

    Where several matches are possible (``iou_thr`` of 0.5 or less), the largest number of matches is taken, and of
    these the largest sum of IoU. True objects that count come first; what they leave may match an ignored one.

    Args:
        labels: predicted objects, integers (H, W), 0 background, numbers may be missing.
        truth: true objects, likewise.
        iou_thr: least IoU of a match (``>=``), in (0, 1].
        ignore_truth_under_px: true objects of fewer pixels are ignored.

    Returns:
        The matches; two empty images give no pair, no false positive and no miss.

    Raises:
        ValueError: images of different shape, not (H, W), negative labels, ``iou_thr`` outside (0, 1].
        TypeError: an image that does not hold integers.
    """
    _check_label_images(labels, truth)
    if not 0 < iou_thr <= 1:
        raise ValueError(f"`iou_thr` must lie in (0, 1]. Received: {iou_thr}")
    predicted_ids, predicted_index, predicted_areas = _objects(labels)
    truth_ids, truth_index, truth_areas = _objects(truth)
    rows, columns, iou = _overlaps(predicted_index, truth_index, predicted_areas, truth_areas)
    reached = iou >= iou_thr
    rows, columns, iou = rows[reached], columns[reached], iou[reached]
    counts = truth_areas >= ignore_truth_under_px
    hits = _assign(rows[counts[columns]], columns[counts[columns]], iou[counts[columns]])
    free = ~counts[columns] & ~np.isin(rows, hits[:, 0])
    ignored = _assign(rows[free], columns[free], iou[free])[:, 0]
    taken = np.concatenate([hits[:, 0], ignored])
    return InstanceMatches(
        pairs=np.stack([predicted_ids[hits[:, 0]], truth_ids[hits[:, 1]]], axis=1),
        false_positives=np.delete(predicted_ids, taken),
        missed=truth_ids[counts & ~np.isin(np.arange(len(truth_ids)), hits[:, 1])],
        ignored=predicted_ids[ignored],
    )


def summarise_instances(images: Iterable[InstanceMatches]) -> InstanceSummary:
    """Sum up the matches of many images; one without any object, true or predicted, has an F1 of 1 (see ``Counts``)."""
    matches: Sequence[InstanceMatches] = list(images)
    counts = sum((image.counts for image in matches), Counts(0, 0, 0))
    errors = [abs(image.n_predicted - image.n_truth) for image in matches]
    n_truth = counts.tp + counts.fn
    relative = [error / image.n_truth for error, image in zip(errors, matches, strict=True) if image.n_truth]
    return InstanceSummary(
        counts,
        mean_defined([image.counts.f1 for image in matches]),
        sum(errors) / n_truth if n_truth else float("nan"),
        mean_defined(relative),
    )


def _check_label_images(labels: np.ndarray, truth: np.ndarray) -> None:
    for name, image in (("labels", labels), ("truth", truth)):
        if image.dtype.kind not in "iu":
            raise TypeError(f"`{name}` must hold integers. Received: {image.dtype}")
        if image.ndim != 2:
            raise ValueError(f"`{name}` must be (H, W). Received shape: {image.shape}")
        if image.size and image.min() < 0:
            raise ValueError(f"`{name}` must not be negative (0 is background). Received: {image.min()}")
    if labels.shape != truth.shape:
        raise ValueError(f"`labels` and `truth` must have one shape. Received: {labels.shape} and {truth.shape}")


def _objects(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label numbers (N,), each pixel's place among them (background -1, flat), areas (N,)."""
    ids, index, areas = np.unique(labels, return_inverse=True, return_counts=True)
    index = index.ravel()
    if len(ids) and ids[0] == 0:
        return ids[1:].astype(np.int64), index - 1, areas[1:]
    return ids.astype(np.int64), index, areas


def _overlaps(
    rows: np.ndarray, columns: np.ndarray, row_areas: np.ndarray, column_areas: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of objects that share pixels: their places and IoU."""
    both = (rows >= 0) & (columns >= 0)
    width = max(len(column_areas), 1)
    pairs, shared = np.unique(rows[both].astype(np.int64) * width + columns[both], return_counts=True)
    row, column = pairs // width, pairs % width
    return row, column, shared / (row_areas[row] + column_areas[column] - shared)


def _assign(rows: np.ndarray, columns: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """One-to-one choice among the given pairs, int64 (M, 2), sorted by row: most matches first, then most IoU."""
    row_ids, row_index = np.unique(rows, return_inverse=True)
    column_ids, column_index = np.unique(columns, return_inverse=True)
    if len(row_ids) == len(rows) and len(column_ids) == len(columns):  # always so for IoU over 0.5
        order = np.argsort(rows)
        return np.stack([rows[order], columns[order]], axis=1).astype(np.int64)
    # One more match outweighs any sum of IoU.
    gain = np.zeros((len(row_ids), len(column_ids)))
    gain[row_index, column_index] = iou + len(rows)
    chosen_rows, chosen_columns = linear_sum_assignment(gain, maximize=True)
    real = gain[chosen_rows, chosen_columns] > 0
    return np.stack([row_ids[chosen_rows[real]], column_ids[chosen_columns[real]]], axis=1).astype(np.int64)
