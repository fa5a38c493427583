"""From predictions to a result: what validation chooses, and what a test measures with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ctc_mm.evaluation.classification_point import ClassificationPoint
from ctc_mm.evaluation.functional.binary import (
    BinaryCounts,
    balanced_log_loss,
    binary_counts,
    log_losses,
    rates_of,
)
from ctc_mm.evaluation.functional.calibration import apply_temperature, expected_calibration_error, fit_temperature
from ctc_mm.evaluation.functional.roc import binary_average_precision, roc_auc
from ctc_mm.evaluation.functional.size_baseline import (
    SizeBaseline,
    cell_sizes,
    choose_size_threshold,
    evaluate_size,
)
from ctc_mm.evaluation.functional.thresholds import check_wishes, choose_thresholds
from ctc_mm.evaluation.predictions import Predictions

FIXED = "0.5"


@dataclass(frozen=True)
class BinaryOptions:
    """What a user may set (see ``CTCBinaryMetric``).

    Raises:
        ValueError: an option out of range.
    """

    wanted_sensitivity: float = 0.95
    wanted_fpr: float = 0.01
    wbc_per_ml: float = 5e6
    confidence: float = 0.95
    n_resamples: int = 2000
    seed: int = 0
    n_bins: int = 10
    gallery: int = 60

    def __post_init__(self) -> None:
        check_wishes(self.wanted_sensitivity, self.wanted_fpr)
        if not (math.isfinite(self.wbc_per_ml) and self.wbc_per_ml >= 0):
            raise ValueError(f"`wbc_per_ml` must be a number of at least 0. Received: {self.wbc_per_ml}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"`confidence` must lie in (0, 1). Received: {self.confidence}")
        for name, least in (("n_resamples", 1), ("n_bins", 1), ("gallery", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}. Received: {getattr(self, name)}")


@dataclass(frozen=True)
class OperatingResult:
    """One operating point on these cells.

    Args:
        threshold: applied; None where there is none, and ``reason`` says why.
        counts: confusion matrix there; None as above.
    """

    threshold: float | None
    counts: BinaryCounts | None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class BinaryResult:
    """Everything measured on a set of cells.

    Args:
        predictions: with ``calibrated`` filled in where there is a temperature.
        auc, ap, log_loss, balanced_log_loss, ece: of the scores as they come; NaN where undefined.
        ece_calibrated, log_loss_calibrated: after temperature scaling; NaN without a temperature.
        at: by operating point, ``0.5`` first.
        size: the size-only baseline.
        point: chosen here or before, or None.
    """

    predictions: Predictions
    auc: float
    ap: float
    log_loss: float
    balanced_log_loss: float
    ece: float
    ece_calibrated: float
    log_loss_calibrated: float
    at: dict[str, OperatingResult]
    size: SizeBaseline
    point: ClassificationPoint | None


def choose_point(predictions: Predictions, target: str, options: BinaryOptions) -> ClassificationPoint:
    """Choose thresholds, temperature and size threshold on these (validation) cells."""
    gt = predictions.gt
    chosen = choose_thresholds(gt, predictions.score, options.wanted_sensitivity, options.wanted_fpr)
    temperature = fit_temperature(gt, predictions.logit)
    sizes = cell_sizes(predictions.diameter_um, predictions.diameter_px)
    size_thr, size_reason = choose_size_threshold(gt, sizes)
    return ClassificationPoint(
        target=target,
        thresholds={rule: one.threshold for rule, one in chosen.items()},
        reasons={rule: one.reason for rule, one in chosen.items() if one.reason},
        wanted_sensitivity=options.wanted_sensitivity,
        wanted_fpr=options.wanted_fpr,
        temperature=temperature.value,
        temperature_reason=temperature.reason,
        size_thr=size_thr,
        size_unit=sizes.unit,
        size_reason=size_reason,
        n_target=int(gt.sum()),
        n_rest=int(len(gt) - gt.sum()),
    )


def evaluate_binary(
    predictions: Predictions, point: ClassificationPoint | None, options: BinaryOptions
) -> BinaryResult:
    """Measure everything on these cells, at thresholds that ``point`` brings along."""
    gt, score, logit = predictions.gt, predictions.score, predictions.logit
    ece_calibrated = log_loss_calibrated = math.nan
    if point is not None:
        calibrated = apply_temperature(logit, point.temperature)
        predictions = replace(predictions, calibrated=calibrated)
        ece_calibrated = expected_calibration_error(gt, calibrated, options.n_bins)
        log_loss_calibrated = float(log_losses(gt, logit / point.temperature).mean())
    sizes = cell_sizes(predictions.diameter_um, predictions.diameter_px, point.size_unit if point else None)
    return BinaryResult(
        predictions=predictions,
        auc=roc_auc(gt, score),
        ap=binary_average_precision(gt, score),
        log_loss=float(log_losses(gt, logit).mean()),
        balanced_log_loss=balanced_log_loss(gt, logit),
        ece=expected_calibration_error(gt, score, options.n_bins),
        ece_calibrated=ece_calibrated,
        log_loss_calibrated=log_loss_calibrated,
        at=_operating_results(predictions, point),
        size=evaluate_size(
            gt, sizes, point.size_thr if point else None,
            point.size_reason if point else "no size threshold was chosen on validation",
        ),
        point=point,
    )  # fmt: skip


def _operating_results(predictions: Predictions, point: ClassificationPoint | None) -> dict[str, OperatingResult]:
    results = {FIXED: OperatingResult(0.5, binary_counts(predictions.gt, predictions.score, 0.5))}
    for rule, threshold in (point.thresholds if point else {}).items():
        if threshold is None:
            results[rule] = OperatingResult(None, None, point.reasons.get(rule, "none was chosen on validation"))
        else:
            results[rule] = OperatingResult(threshold, binary_counts(predictions.gt, predictions.score, threshold))
    return results


def flat_values(result: BinaryResult) -> dict[str, float]:
    """Flatten a result for the logger and for ``save_best`` (names: ``CTCBinaryMetric``, without the prefix)."""
    values = {
        "AUC": result.auc,
        "AP": result.ap,
        **rates_of(result.at[FIXED].counts),
        "log_loss": result.log_loss,
        "balanced_log_loss": result.balanced_log_loss,
        "ECE": result.ece,
    }
    for rule, one in result.at.items():
        if rule != FIXED:  # the same names after each validation, as trackers want them
            rates = rates_of(one.counts or BinaryCounts(0, 0, 0, 0))
            values[f"threshold@{rule}"] = math.nan if one.threshold is None else one.threshold
            values |= {f"{name}@{rule}": rates[name] for name in ("sensitivity", "specificity", "precision", "F1")}
    if result.point is not None:
        values |= {"temperature": result.point.temperature, "ECE_calibrated": result.ece_calibrated}
    values["size_AUC"] = result.size.auc
    values["size_F1"] = result.size.counts.f1 if result.size.counts else math.nan
    return {name: float(value) for name, value in values.items()}
