"""A detector's figures on images drawn with replacement: matched once, weighted by how often each image was drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ctc_mm.evaluation.functional.curves import COCO_RECALLS, mean_defined
from ctc_mm.evaluation.functional.matching import match_image
from ctc_mm.evaluation.functional.records import Counts, ImageRecord

IOU_THRS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
FIXED, FROZEN = "0.5", "frozen"
RATES = ("precision", "recall", "f1")


class ResampledDetection:
    """Figures of one detector as functions of how often each image was drawn.

    Called with times of 1 it gives what ``summarise_detection`` and COCO's evaluation give of the images as they are;
    an image drawn twice counts as two. A hit has IoU >= 0.5, for ``mAP`` 0.50, 0.55 ... 0.95.

    Args:
        images: predictions and truth, original pixels.
        classes: names by label.
        score_thr: fixed score threshold (``>=``).
        frozen: score threshold of each class, chosen on other images; None where there is none: nothing of that class
            is called.

    Raises:
        ValueError: no image, or a label without a class.
    """

    def __init__(
        self,
        images: Sequence[ImageRecord],
        classes: Sequence[str],
        score_thr: float = 0.5,
        frozen: Mapping[str, float | None] | None = None,
    ) -> None:
        if not images:
            raise ValueError("figures need at least one image. Received: none")
        labels = np.concatenate([part for one in images for part in (one.labels, one.truth_labels)])
        if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
            raise ValueError(
                f"labels must lie in 0..{len(classes) - 1} for the classes {tuple(classes)}. "
                f"Received: {labels.min()}..{labels.max()}"
            )
        self.classes = tuple(classes)
        thresholds = {FIXED: dict.fromkeys(classes, score_thr), FROZEN: dict(frozen or {})}
        self._of_class = {
            name: _ResampledClass.of(images, label, {at: by_class.get(name) for at, by_class in thresholds.items()})
            for label, name in enumerate(classes)
        }
        self._points = (FIXED, FROZEN) if frozen is not None else (FIXED,)
        self._last: tuple[np.ndarray, dict[str, float]] | None = None

    def __call__(self, times: np.ndarray) -> dict[str, float]:
        """Figures on a resample.

        Args:
            times: int64 (images,), how often each was drawn.

        Returns:
            ``mAP50``, ``AP50_<class>``, ``mAP``; ``precision@0.5``, ``recall@0.5``, ``f1@0.5`` of all classes pooled
            and ``precision_<class>@0.5`` ...; with frozen thresholds ``@frozen`` likewise. NaN where undefined: no
            truth of the class was drawn.
        """
        if self._last is None or self._last[0] is not times:  # one draw is asked for many figures
            self._last = (times, self._figures(times))
        return self._last[1]

    def _figures(self, times: np.ndarray) -> dict[str, float]:
        areas = {name: one.average_precisions(times) for name, one in self._of_class.items()}
        figures = {
            "mAP50": mean_defined([area[0] for area in areas.values()]),
            "mAP": mean_defined([float(value) for area in areas.values() for value in area[1]]),
            **{f"AP50_{name}": area[0] for name, area in areas.items()},
        }
        for point in self._points:
            counts = {name: one.counts(point, times) for name, one in self._of_class.items()}
            pooled = sum(counts.values(), Counts(0, 0, 0))
            for suffix, one in {"": pooled, **{f"_{name}": count for name, count in counts.items()}}.items():
                figures |= {f"{rate}{suffix}@{point}": getattr(one, rate) for rate in RATES}
        return figures


@dataclass(frozen=True, eq=False)
class _ResampledClass:
    """One class, its predictions sorted by score.

    Attributes:
        owner: int64 (D,), image of each prediction; ``is_tp``, ``counted``: bool (10, D), a hit, and outside ignore
            regions, at each IoU; ``last_of_equals``: int64 (P,), last prediction of each score.
        truth: int64 (images,), true cells; ``called``: by threshold, bool (D,).
    """

    owner: np.ndarray
    is_tp: np.ndarray
    counted: np.ndarray
    last_of_equals: np.ndarray
    truth: np.ndarray
    called: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, images: Sequence[ImageRecord], label: int, thresholds: Mapping[str, float | None]) -> _ResampledClass:
        """Match at every IoU; the same prediction keeps its place at each."""
        at_iou = [_hits(images, label, iou_thr) for iou_thr in IOU_THRS]
        scores, owner = at_iou[0][0], at_iou[0][1]
        order = np.argsort(-scores, kind="stable")
        scores = scores[order]
        last = np.flatnonzero(np.append(np.diff(scores) != 0, True)) if scores.size else np.empty(0, np.int64)
        called = {
            name: np.zeros(scores.size, bool) if threshold is None else scores >= threshold
            for name, threshold in thresholds.items()
        }
        return cls(
            owner=owner[order],
            is_tp=np.array([one[2] for one in at_iou])[:, order],
            counted=np.array([one[3] for one in at_iou])[:, order],
            last_of_equals=last,
            truth=np.array([(one.truth_labels == label).sum() for one in images], np.int64),
            called=called,
        )

    def counts(self, point: str, times: np.ndarray) -> Counts:
        """Counts at IoU 0.5 and one threshold."""
        weight = times[self.owner] * self.counted[0] * self.called[point]
        tp = int((weight * self.is_tp[0]).sum())
        return Counts(tp, int(weight.sum()) - tp, int(times @ self.truth) - tp)

    def average_precisions(self, times: np.ndarray) -> tuple[float, np.ndarray]:
        """Area under the curve at IoU 0.5 (all points), and COCO's at each IoU (10,); NaN without truth."""
        n_truth = int(times @ self.truth)
        if not n_truth:
            return float("nan"), np.full(len(IOU_THRS), np.nan)
        weight = times[self.owner] * self.counted
        tp, seen = np.cumsum(weight * self.is_tp, axis=1), np.cumsum(weight, axis=1)
        precision = np.divide(tp, seen, out=np.zeros(tp.shape), where=seen > 0)
        recall, points = tp / n_truth, self.last_of_equals
        area = np.sum(np.diff(recall[0, points], prepend=0.0) * _envelopes(precision[:1, points])[0])
        envelopes = _envelopes(precision)
        return float(area), np.array([_at_coco_recalls(*one) for one in zip(recall, envelopes, strict=True)])


def _hits(images: Sequence[ImageRecord], label: int, iou_thr: float) -> tuple[np.ndarray, ...]:
    """Score, image, hit and whether it is counted of each prediction of a class, in the order of the images."""
    columns: list[tuple[np.ndarray, ...]] = [(np.empty(0), np.empty(0, np.int64), np.empty(0, bool), np.empty(0, bool))]
    for position, image in enumerate(images):
        mine = image.labels == label
        truth, regions = image.truth_xyxy[image.truth_labels == label], image.ignore_xyxy[image.ignore_labels == label]
        found = match_image(image.boxes_xyxy[mine], image.scores[mine], truth, regions, iou_thr)
        scores = image.scores[mine].astype(np.float64)
        columns.append((scores, np.full(scores.size, position, np.int64), found.is_tp, ~found.is_ignored))
    return tuple(np.concatenate(column) for column in zip(*columns, strict=True))


def _envelopes(precision: np.ndarray) -> np.ndarray:
    """Best precision at this recall or a higher one, row by row."""
    return np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]


def _at_coco_recalls(recall: np.ndarray, envelope: np.ndarray) -> float:
    first = np.searchsorted(recall, COCO_RECALLS, side="left")
    reached = first < recall.size
    return float(np.sum(envelope[first[reached]]) / COCO_RECALLS.size)
