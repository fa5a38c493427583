"""Value types of the evaluation: what one image holds, how its boxes matched, and counts with their ratios."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """Predictions and truth of one image, all in pixels of the original image.

    Args:
        boxes_xyxy: predicted boxes, float32 (D, 4), half-open xyxy.
        scores: float32 (D,), any order.
        labels: int64 (D,), index into the classes.
        truth_xyxy: true boxes, float32 (T, 4); truth_labels: int64 (T,).
        ignore_xyxy: regions nobody labelled cell by cell (``iscrowd``), float32 (I, 4); ignore_labels: int64 (I,).
        name: the image's id or path, for messages.
        area_px: of the image; None where it is not known.

    Raises:
        ValueError: a shape, a length or a number (NaN, infinity) that cannot be evaluated.
    """

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    truth_xyxy: np.ndarray
    truth_labels: np.ndarray
    ignore_xyxy: np.ndarray
    ignore_labels: np.ndarray
    name: str = ""
    area_px: int | None = None

    def __post_init__(self) -> None:
        for boxes_field, labels_field in (
            ("boxes_xyxy", "labels"),
            ("truth_xyxy", "truth_labels"),
            ("ignore_xyxy", "ignore_labels"),
        ):
            boxes, labels = getattr(self, boxes_field), getattr(self, labels_field)
            if boxes.ndim != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
                raise ValueError(
                    f"image {self.name!r}: `{boxes_field}` must be (N, 4) and `{labels_field}` (N,). "
                    f"Received: {boxes.shape} and {labels.shape}"
                )
            if not np.isfinite(boxes).all():
                raise ValueError(
                    f"image {self.name!r}: `{boxes_field}` holds NaN or infinity; predictions like that mean that "
                    "training diverged (lower the learning rate, start from a sound checkpoint)"
                )
        if self.scores.shape != self.labels.shape or not np.isfinite(self.scores).all():
            raise ValueError(
                f"image {self.name!r}: `scores` must be finite and of shape {self.labels.shape}. "
                f"Received shape {self.scores.shape}, finite: {bool(np.isfinite(self.scores).all())}"
            )

    @property
    def is_blank(self) -> bool:
        """Whether the image holds no true cell of any class (ignore regions do not count as cells)."""
        return self.truth_labels.size == 0


@dataclass(frozen=True, eq=False)
class ImageMatches:
    """Outcome of matching one image's predictions of one class, in the order of the input.

    Args:
        truth_index: int64 (D,), the matched truth, -1 where there is none.
        is_ignored: bool (D,), lies in an ignore region and matched no truth: neither hit nor false positive.
    """

    truth_index: np.ndarray
    is_ignored: np.ndarray

    @property
    def is_tp(self) -> np.ndarray:
        """Bool (D,): matched a truth."""
        return self.truth_index >= 0


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """All predictions of one class over a set of images, highest score first, ignored ones left out.

    Args:
        scores: float64 (D,), descending (equal scores in the order of the images).
        is_tp: bool (D,), a hit; everything else is a false positive.
        image_index: int64 (D,), position of the image in the set.
        n_truth: true objects of the class.
        n_ignored: predictions left out because they lie in an ignore region.
        n_ignore_regions: ignore regions of the class.
    """

    scores: np.ndarray
    is_tp: np.ndarray
    image_index: np.ndarray
    n_truth: int
    n_ignored: int
    n_ignore_regions: int


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and misses, with the ratios made of them.

    Where a ratio has nothing to divide by, it is 1 if there was nothing to find and nothing was claimed
    (tp = fp = fn = 0: a perfect answer), and 0 otherwise. So an empty prediction on existing truth has precision 0,
    and a claim where there is no truth has recall 0. F1 = 2 tp / (2 tp + fp + fn) follows the same rule.
    """

    tp: int
    fp: int
    fn: int

    def __post_init__(self) -> None:
        if min(self.tp, self.fp, self.fn) < 0:
            raise ValueError(f"counts cannot be negative. Received: tp={self.tp}, fp={self.fp}, fn={self.fn}")

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    def _ratio(self, part: int, whole: int) -> float:
        if whole:
            return part / whole
        return 1.0 if self.tp + self.fp + self.fn == 0 else 0.0

    @property
    def precision(self) -> float:
        """Hits among predictions."""
        return self._ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Hits among true objects."""
        return self._ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return self._ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def to_json(self) -> dict[str, int | float]:
        """Counts beside rates, as plain numbers."""
        return {
            "TP": self.tp,
            "FP": self.fp,
            "FN": self.fn,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
        }
