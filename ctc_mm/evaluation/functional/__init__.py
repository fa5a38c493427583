"""Pure functions of the evaluation, on NumPy arrays alone (no torch, nothing of OpenMMLab)."""

from ctc_mm.evaluation.functional.boxes import pairwise_covered, pairwise_intersection, pairwise_iou
from ctc_mm.evaluation.functional.curves import (
    BestF1,
    PRCurve,
    average_precision,
    best_f1,
    coco_average_precision,
    counts_at,
    mean_defined,
    pr_curve,
)
from ctc_mm.evaluation.functional.matching import match_class, match_image
from ctc_mm.evaluation.functional.points import PointMatches, PointScore, match_points, score_points
from ctc_mm.evaluation.functional.records import ClassMatches, Counts, ImageMatches, ImageRecord
from ctc_mm.evaluation.functional.summary import (
    ClassSummary,
    DetectionSummary,
    FalsePositivesOnBlanks,
    false_positives_on_blanks,
    summarise_detection,
)

__all__ = [
    "BestF1",
    "ClassMatches",
    "ClassSummary",
    "Counts",
    "DetectionSummary",
    "FalsePositivesOnBlanks",
    "ImageMatches",
    "ImageRecord",
    "PRCurve",
    "PointMatches",
    "PointScore",
    "average_precision",
    "best_f1",
    "coco_average_precision",
    "counts_at",
    "false_positives_on_blanks",
    "match_class",
    "match_image",
    "match_points",
    "mean_defined",
    "pairwise_covered",
    "pairwise_intersection",
    "pairwise_iou",
    "pr_curve",
    "score_points",
    "summarise_detection",
]
