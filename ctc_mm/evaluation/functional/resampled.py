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
    """One class: its D predictions sorted by score, of which H hit at some IoU. Between two hits precision only falls.

    Attributes:
        owner: int64 (D,), image of each prediction.
        counted: bool (10, D), outside ignore regions at each IoU; (1, D) where that is the same at all.
        is_tp: bool (10, H), hits at each IoU; ``places``: int64 (H,), where they stand among the D.
        ends: int64 (P,), among the D, the last prediction of each score at which one hits at IoU 0.5; ``tp_of_end``:
            int64 (P,), how many of the H come no later.
        truth: int64 (images,), true cells.
        called: by threshold, image and hit at IoU 0.5 of the predictions that it lets through.
    """

    owner: np.ndarray
    counted: np.ndarray
    is_tp: np.ndarray
    places: np.ndarray
    ends: np.ndarray
    tp_of_end: np.ndarray
    truth: np.ndarray
    called: Mapping[str, tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, images: Sequence[ImageRecord], label: int, thresholds: Mapping[str, float | None]) -> _ResampledClass:
        """Match at every IoU; the same prediction keeps its place at each."""
        at_iou = [_hits(images, label, iou_thr) for iou_thr in IOU_THRS]
        order = np.argsort(-at_iou[0][0], kind="stable")
        scores, owner = (column[order] for column in at_iou[0][:2])
        is_tp, counted = (np.array([one[place] for one in at_iou])[:, order] for place in (2, 3))
        called = {}
        for name, threshold in thresholds.items():
            mine = counted[0] & (scores >= threshold if threshold is not None else False)
            called[name] = (owner[mine], is_tp[0, mine])
        places = np.flatnonzero(is_tp.any(axis=0))
        # -scores rises, so that the last of equal ones is found by its right end.
        ends = np.unique(np.searchsorted(-scores, -scores[is_tp[0]], side="right") - 1)
        return cls(
            owner=owner,
            counted=counted[:1] if (counted == counted[0]).all() else counted,
            is_tp=is_tp[:, places],
            places=places,
            ends=ends,
            tp_of_end=np.searchsorted(places, ends, side="right"),
            truth=np.array([(one.truth_labels == label).sum() for one in images], np.int64),
            called=called,
        )

    def counts(self, point: str, times: np.ndarray) -> Counts:
        """Counts at IoU 0.5 and one threshold."""
        owner, is_tp = self.called[point]
        weight = times[owner]
        tp = int(weight[is_tp].sum())
        return Counts(tp, int(weight.sum()) - tp, int(times @ self.truth) - tp)

    def average_precisions(self, times: np.ndarray) -> tuple[float, np.ndarray]:
        """Area under the curve at IoU 0.5 (all points), and COCO's at each IoU (10,); NaN without truth."""
        n_truth = int(times @ self.truth)
        if not n_truth:
            return float("nan"), np.full(len(IOU_THRS), np.nan)
        seen = np.cumsum(times[self.owner] * self.counted, axis=1)
        tp = np.cumsum(times[self.owner[self.places]] * self.is_tp, axis=1)
        recall, precision = tp / n_truth, _ratio(tp, np.broadcast_to(seen[:, self.places], tp.shape))
        coco = [_at_coco_recalls(*one) for one in zip(recall, _envelopes(precision), strict=True)]
        at_ends = tp[:1, self.tp_of_end - 1]
        envelope = _envelopes(_ratio(at_ends, seen[:1, self.ends]))[0]
        return float(np.sum(np.diff(at_ends[0] / n_truth, prepend=0.0) * envelope)), np.array(coco)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Where nothing was drawn yet there is no hit either: 0."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


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
