"""Pure functions of the evaluation, on NumPy arrays alone (no torch, nothing of OpenMMLab)."""

from ctc_mm.evaluation.functional.binary import (
    BinaryCounts,
    balanced_log_loss,
    binary_counts,
    binary_metrics,
    log_losses,
    rates_of,
)
from ctc_mm.evaluation.functional.bootstrap import (
    BootstrapInterval,
    bootstrap_by_group,
    bootstrap_figures,
    weighted_auc,
    weighted_f1,
)
from ctc_mm.evaluation.functional.boxes import pairwise_covered, pairwise_intersection, pairwise_iou
from ctc_mm.evaluation.functional.calibration import (
    ReliabilityBins,
    Temperature,
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    reliability_bins,
)
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
from ctc_mm.evaluation.functional.intervals import clopper_pearson
from ctc_mm.evaluation.functional.matching import match_class, match_image
from ctc_mm.evaluation.functional.points import PointMatches, PointScore, match_points, score_points
from ctc_mm.evaluation.functional.records import ClassMatches, Counts, ImageMatches, ImageRecord
from ctc_mm.evaluation.functional.resampled import ResampledDetection
from ctc_mm.evaluation.functional.roc import ScoreCurve, binary_average_precision, roc_auc, roc_curve
from ctc_mm.evaluation.functional.size_baseline import (
    CellSizes,
    SizeBaseline,
    cell_sizes,
    choose_size_threshold,
    evaluate_size,
)
from ctc_mm.evaluation.functional.summary import (
    ClassSummary,
    DetectionSummary,
    FalsePositivesOnBlanks,
    false_positives_on_blanks,
    summarise_detection,
)
from ctc_mm.evaluation.functional.thresholds import ChosenThreshold, choose_thresholds

__all__ = [
    "BestF1",
    "BinaryCounts",
    "BootstrapInterval",
    "CellSizes",
    "ChosenThreshold",
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
    "ReliabilityBins",
    "ResampledDetection",
    "ScoreCurve",
    "SizeBaseline",
    "Temperature",
    "apply_temperature",
    "average_precision",
    "balanced_log_loss",
    "best_f1",
    "binary_average_precision",
    "binary_counts",
    "binary_metrics",
    "bootstrap_by_group",
    "bootstrap_figures",
    "cell_sizes",
    "choose_size_threshold",
    "choose_thresholds",
    "clopper_pearson",
    "coco_average_precision",
    "counts_at",
    "evaluate_size",
    "expected_calibration_error",
    "false_positives_on_blanks",
    "fit_temperature",
    "log_losses",
    "match_class",
    "match_image",
    "match_points",
    "mean_defined",
    "pairwise_covered",
    "pairwise_intersection",
    "pairwise_iou",
    "pr_curve",
    "rates_of",
    "reliability_bins",
    "roc_auc",
    "roc_curve",
    "score_points",
    "summarise_detection",
    "weighted_auc",
    "weighted_f1",
]
