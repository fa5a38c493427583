"""A detector's whole result on a set of images: per class, pooled, and on images without cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ctc_mm.evaluation.functional.curves import (
    BestF1,
    PRCurve,
    average_precision,
    best_f1,
    counts_at,
    mean_defined,
    pr_curve,
)
from ctc_mm.evaluation.functional.matching import match_class
from ctc_mm.evaluation.functional.records import ClassMatches, Counts, ImageRecord


@dataclass(frozen=True)
class FalsePositivesOnBlanks:
    """False positives on images that hold no true cell of any class.

    Args:
        count: false positives on all of them; n_images: how many such images there are.
    """

    count: int
    n_images: int

    @property
    def per_image(self) -> float:
        """NaN if there is no blank image: nothing was measured."""
        return self.count / self.n_images if self.n_images else float("nan")


@dataclass(frozen=True, eq=False)
class ClassSummary:
    """What was found of one class at one IoU.

    Args:
        matches: every prediction with its outcome.
        curve: precision and recall at each score.
        ap: area under the curve (``average_precision``); NaN without truth.
        at_score: counts at the fixed score threshold.
        best: the best F1 on these very images (None: nothing was found); optimistic unless another set is judged by it.
        at_frozen: counts at the threshold chosen on other images (None: no such threshold).
        frozen_thr: that threshold.
    """

    matches: ClassMatches
    curve: PRCurve
    ap: float
    at_score: Counts
    best: BestF1 | None
    at_frozen: Counts | None
    frozen_thr: float | None


@dataclass(frozen=True, eq=False)
class DetectionSummary:
    """Result over all classes.

    Args:
        per_class: by class name, in the order of the classes.
        n_images: images evaluated; n_blank_images: those without a true cell of any class.
        blanks_at_score: false positives of each class on the blank images, at ``score_thr``.
        blanks_at_frozen: the same at the frozen thresholds, for the classes that have one.
        iou_thr, score_thr: the thresholds used.
    """

    per_class: dict[str, ClassSummary]
    n_images: int
    n_blank_images: int
    blanks_at_score: dict[str, FalsePositivesOnBlanks]
    blanks_at_frozen: dict[str, FalsePositivesOnBlanks]
    iou_thr: float
    score_thr: float

    @property
    def mean_ap(self) -> float:
        """Mean over the classes that have truth; NaN if none has."""
        return mean_defined([summary.ap for summary in self.per_class.values()])

    @property
    def pooled(self) -> Counts:
        """Counts of all classes together at the fixed score threshold (a hit needs the right class)."""
        return sum((summary.at_score for summary in self.per_class.values()), Counts(0, 0, 0))

    @property
    def pooled_blanks(self) -> FalsePositivesOnBlanks:
        """False positives of all classes together on the blank images, at the fixed score threshold."""
        return FalsePositivesOnBlanks(sum(b.count for b in self.blanks_at_score.values()), self.n_blank_images)


def false_positives_on_blanks(matches: ClassMatches, is_blank: np.ndarray, score_thr: float) -> FalsePositivesOnBlanks:
    """Count a class's false positives with score >= ``score_thr`` on blank images.

    Args:
        matches: the class's matches.
        is_blank: bool (number of images,).
        score_thr: lowest score that counts.
    """
    wrong = ~matches.is_tp & (matches.scores >= score_thr)
    return FalsePositivesOnBlanks(int((wrong & is_blank[matches.image_index]).sum()), int(is_blank.sum()))


def _summarise_class(matches: ClassMatches, score_thr: float, frozen_thr: float | None) -> ClassSummary:
    curve = pr_curve(matches)
    return ClassSummary(
        matches=matches,
        curve=curve,
        ap=average_precision(curve),
        at_score=counts_at(matches, score_thr),
        best=best_f1(curve),
        at_frozen=None if frozen_thr is None else counts_at(matches, frozen_thr),
        frozen_thr=frozen_thr,
    )


def summarise_detection(
    images: Sequence[ImageRecord],
    classes: Sequence[str],
    iou_thr: float = 0.5,
    score_thr: float = 0.5,
    frozen_thresholds: Mapping[str, float | None] | None = None,
) -> DetectionSummary:
    """Evaluate predictions on a set of images (ssd-attention-fusion-2022, section 2.6.4, Eq. 5 and 6; reading 9).

    Args:
        images: predictions and truth, original pixels.
        classes: names by label.
        iou_thr: overlap that makes a hit, in (0, 1].
        score_thr: fixed threshold (``>=``) for precision, recall and F1.
        frozen_thresholds: thresholds per class chosen on other images, applied as they are.

    Raises:
        ValueError: a label without a class, or ``iou_thr`` outside (0, 1].
    """
    for image in images:
        for labels in (image.labels, image.truth_labels, image.ignore_labels):
            if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
                raise ValueError(
                    f"image {image.name!r}: labels must lie in 0..{len(classes) - 1} for the classes {tuple(classes)}. "
                    f"Received: {labels.min()}..{labels.max()}; make `num_classes` and the data set's classes agree"
                )
    frozen = dict(frozen_thresholds or {})
    is_blank = np.array([image.is_blank for image in images], bool)
    per_class = {
        name: _summarise_class(match_class(images, label, iou_thr), score_thr, frozen.get(name))
        for label, name in enumerate(classes)
    }
    return DetectionSummary(
        per_class=per_class,
        n_images=len(images),
        n_blank_images=int(is_blank.sum()),
        blanks_at_score={
            name: false_positives_on_blanks(one.matches, is_blank, score_thr) for name, one in per_class.items()
        },
        blanks_at_frozen={
            name: false_positives_on_blanks(one.matches, is_blank, one.frozen_thr)
            for name, one in per_class.items()
            if one.frozen_thr is not None
        },
        iou_thr=iou_thr,
        score_thr=score_thr,
    )
