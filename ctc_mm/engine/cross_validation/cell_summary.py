"""Classification folds summed up: every cell's prediction pooled, and figures averaged over folds (reading 25)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from mmengine.config import Config

from ctc_mm.engine.cross_validation.drawing import draw_folds_roc
from ctc_mm.engine.cross_validation.results import FoldResult
from ctc_mm.engine.cross_validation.section import (
    Picture,
    Section,
    Table,
    shown,
    shown_interval,
    shown_rate,
    shown_spread,
)
from ctc_mm.engine.cross_validation.statistics import MeanROC, mean_roc
from ctc_mm.evaluation.binary_evaluation import FIXED, BinaryOptions, BinaryResult, evaluate_binary
from ctc_mm.evaluation.binary_figures import NamedCurve, draw_confusion, draw_pr, named_curve
from ctc_mm.evaluation.binary_intervals import (
    bootstrap_json,
    bootstrap_result,
    false_targets_per_ml,
    rates_json,
    resampled_units,
)
from ctc_mm.evaluation.binary_report import counts_json, point_names, rules, score_curves
from ctc_mm.evaluation.binary_tables import confusion_csv, pr_csv, roc_csv
from ctc_mm.evaluation.functional.binary import BinaryCounts
from ctc_mm.evaluation.functional.bootstrap import bootstrap_figures, weighted_f1
from ctc_mm.evaluation.functional.calibration import expected_calibration_error
from ctc_mm.evaluation.functional.spread import mean_sd, number
from ctc_mm.evaluation.operating_point import is_ctc_metric
from ctc_mm.evaluation.output import csv_text
from ctc_mm.evaluation.predictions import Predictions, pool_predictions

HEADLINE = (
    "AUC", "AP", "sensitivity", "specificity", "precision", "F1", "F1_macro", "accuracy", "sensitivity@youden",
    "specificity@youden", "balanced_log_loss", "ECE", "ECE_calibrated", "size_AUC", "size_F1",
)  # fmt: skip
POOL_NOTE = (
    "Pooled: the predictions of all folds together, each cell tested once by a model that was not trained on it. "
    "Thresholds other than 0.5 are each fold's own, chosen on its validation part. Intervals: exact (Clopper-Pearson) "
    "for rates, bootstrap by group for AUC and F1; models of different folds share training data, so they say what "
    "other cells would give, not what other training sets would. Scores of different models need not be on one scale, "
    "which mostly lowers the pooled AUC and AP; the mean of folds is free of that."
)


@dataclass(frozen=True, eq=False)
class _Pool:
    """The folds of one repeat, or the final test.

    Attributes:
        title: for headings.
        results: of the folds.
        result: evaluation of all predictions together.
        counts: by operating point, summed over folds that have it.
        n_folds: folds that have it, by operating point.
        called: by operating point, bool (N,); only where every fold has it.
        size_counts: of the size-only baseline at each fold's own threshold; None where no fold has one.
        n_size_folds: folds that have one.
    """

    title: str
    results: Sequence[FoldResult]
    result: BinaryResult
    counts: Mapping[str, BinaryCounts]
    n_folds: Mapping[str, int]
    called: Mapping[str, np.ndarray]
    size_counts: BinaryCounts | None
    n_size_folds: int


def binary_options(config: Config) -> BinaryOptions:
    """Options of the evaluation as the config's metric has them."""
    evaluators = config.test_evaluator if isinstance(config.test_evaluator, list | tuple) else [config.test_evaluator]
    known = {one.name for one in fields(BinaryOptions)}
    for evaluator in filter(is_ctc_metric, evaluators):
        return BinaryOptions(**{name: value for name, value in evaluator.items() if name in known})
    return BinaryOptions()


def summarise_cells(results: Sequence[FoldResult], options: BinaryOptions) -> Section:
    """Sum up the folds of a classifier.

    Args:
        results: finished folds of all repeats, and the final model's, in order.
        options: see ``binary_options``.
    """
    repeats = sorted({one.fold.repeat for one in results if not one.is_final})
    pools = []
    for repeat in repeats:
        title = "pooled" + (f", repeat {repeat}" if len(repeats) > 1 else "")
        pools.append(_pool(title, [one for one in results if not one.is_final and one.fold.repeat == repeat], options))
    finals = [_pool(one.fold.title, [one], options) for one in results if one.is_final]
    measured = [(pool, _pool_json(pool, options)) for pool in [*pools, *finals]]
    content: dict[str, Any] = {"pooled": [], "final": []}
    for pool, figures in measured:
        content["pooled" if pool in pools else "final"].append({"title": pool.title, **figures})
    tables = [_paper_table(results, measured), *(_point_table(pool, figures, options) for pool, figures in measured)]
    pictures, files = [], {}
    for place, (pool, figures) in enumerate(measured):
        suffix = "" if not place else f"_{pool.title.replace(', ', '_').replace(' ', '_')}"
        _draw(pool, score_curves(pool.result, figures, point_names(options)), suffix, pictures, files)
    return Section(content, tables, pictures, files)


def _pool(title: str, results: Sequence[FoldResult], options: BinaryOptions) -> _Pool:
    predictions = pool_predictions([one.predictions for one in results])
    result = evaluate_binary(predictions, None, options)
    points = [name for name in rules(options) if name != FIXED]
    counts, n_folds, called = {FIXED: result.at[FIXED].counts}, {FIXED: len(results)}, {}
    called[FIXED] = predictions.score >= float(FIXED)
    for name in points:
        thresholds = [_threshold(one, name) for one in results]
        parts = [one.predictions for one in results]
        having = [(part, thr) for part, thr in zip(parts, thresholds, strict=True) if thr is not None]
        n_folds[name] = len(having)
        if having:
            counts[name] = reduce(add, [_counts(part, part.score >= thr) for part, thr in having])
        if len(having) == len(results):
            called[name] = np.concatenate([part.score >= thr for part, thr in having])
    sizes = [_size_counts(one.metrics.get("size_baseline") or {}) for one in results]
    known = [one for one in sizes if one is not None]
    # The calibrated column is each fold's own, with the temperature of its validation part.
    if not np.isnan(predictions.calibrated).any():
        error = expected_calibration_error(predictions.gt, predictions.calibrated, options.n_bins)
        result = replace(result, ece_calibrated=error)
    return _Pool(title, results, result, counts, n_folds, called, reduce(add, known) if known else None, len(known))


def _threshold(result: FoldResult, point: str) -> float | None:
    chosen = result.metrics.get("operating_point") or {}
    return (chosen.get("thresholds") or {}).get(point)


def _counts(part: Predictions, called: np.ndarray) -> BinaryCounts:
    truth = part.gt.astype(bool)
    pairs = (truth & called, ~truth & called, truth & ~called, ~truth & ~called)
    return BinaryCounts(*(int(one.sum()) for one in pairs))


def _size_counts(content: Mapping[str, Any]) -> BinaryCounts | None:
    keys = ("TP", "FP", "FN", "TN")
    return BinaryCounts(*(content[key] for key in keys)) if all(key in content for key in keys) else None


def _pool_json(pool: _Pool, options: BinaryOptions) -> dict[str, Any]:
    """Figures of a pool with counts and intervals."""
    gt, units = pool.result.predictions.gt, resampled_units(pool.result.predictions)
    intervals = bootstrap_result(pool.result, options) | _f1_intervals(pool, options)
    points: dict[str, Any] = {}
    for name, counts in pool.counts.items():
        rates = rates_json(counts, options.confidence)
        points[name] = {"folds": pool.n_folds[name], **counts_json(counts), **rates}
        points[name]["false_targets_per_ml"] = false_targets_per_ml(counts, options.wbc_per_ml, options.confidence)
        points[name] |= {figure: intervals.get(f"{figure}@{name}") for figure in ("F1", "F1_macro")}
    size: dict[str, Any] = {"cells_of_known_size": pool.result.size.n, "unit": pool.result.size.unit}
    if pool.result.size.n:
        size["AUC"] = intervals["size_AUC"]
        size["classifier_AUC_on_these_cells"] = intervals["AUC_where_size_is_known"]
        size["AUC_gained_over_size"] = intervals["AUC_gained_over_size"]
    if pool.size_counts is not None:
        size |= {
            "folds": pool.n_size_folds,
            **counts_json(pool.size_counts),
            **rates_json(pool.size_counts, options.confidence),
        }
        size["F1"] = number(pool.size_counts.f1)
    return {
        "folds": len(pool.results),
        "samples": int(gt.size),
        "targets": int(gt.sum()),
        "AUC": intervals["AUC"],
        "AP": number(pool.result.ap),
        "operating_points": points,
        "ECE": number(pool.result.ece),
        "ECE_calibrated": number(pool.result.ece_calibrated),
        "balanced_log_loss": number(pool.result.balanced_log_loss),
        "size_baseline": size,
        "confidence": options.confidence,
        "bootstrap": {"unit": units.unit, "note": units.note, "seed": options.seed},
    }


def _f1_intervals(pool: _Pool, options: BinaryOptions) -> dict[str, Any]:
    """F1 at each fold's own thresholds, on the same resamples as all the rest."""
    gt, units = pool.result.predictions.gt, resampled_units(pool.result.predictions)
    statistics = {}
    for name, called in pool.called.items():
        statistics[f"F1@{name}"] = weighted_f1(gt, called)
        statistics[f"F1_macro@{name}"] = weighted_f1(gt, called, macro=True)
    found = bootstrap_figures(statistics, units.names, options.n_resamples, options.seed, options.confidence)
    return {name: bootstrap_json(one, units.unit) for name, one in found.items()}


def _paper_table(results: Sequence[FoldResult], measured: Sequence[tuple[_Pool, Mapping[str, Any]]]) -> Table:
    """The table the papers print: AUC, sensitivity and specificity, beside size alone."""
    names = ("AUC", "sensitivity", "specificity", "accuracy", "precision", "F1")
    folds = [one for one in results if not one.is_final]
    rows = []
    if len(folds) > 1:
        spreads = [mean_sd([one.values.get(name, math.nan) for one in folds]) for name in names]
        rows.append(("mean ± SD of folds", *map(shown_spread, spreads)))
        sizes = [mean_sd([one.values.get(f"size_{name}", math.nan) for one in folds]) for name in ("AUC", "F1")]
        if sizes[0].n:
            auc, f1 = map(shown_spread, sizes)
            rows.append(("size alone, mean ± SD of folds", auc, "", "", "", "", f1))
    for pool, figures in measured:
        at = figures["operating_points"][FIXED]
        rates = [shown_rate(at[name]) for name in names[1:-1]]
        auc = f"{shown(figures['AUC']['value'])}{shown_interval(figures['AUC']['interval'])}"
        f1 = f"{shown(at['F1']['value'])}{shown_interval(at['F1']['interval'])}"
        rows.append((pool.title, auc, *rates, f1))
        size = figures["size_baseline"]
        if "AUC" in size:
            auc = f"{shown(size['AUC']['value'])}{shown_interval(size['AUC']['interval'])}"
            rates = [shown_rate(size[name]) if name in size else "-" for name in names[1:-1]]
            partly = f" (threshold in {pool.n_size_folds} of {len(pool.results)} folds)"
            title = f"size alone, {pool.title}{partly if 0 < pool.n_size_folds < len(pool.results) else ''}"
            rows.append((title, auc, *rates, shown(size.get("F1"))))
    note = (
        "Rates at a score of 0.5; size alone at the diameter of the best Youden index of each fold's validation part."
    )
    return Table("Results", ("", *names), tuple(rows), f"{note} {POOL_NOTE}", "results.csv")


def _point_table(pool: _Pool, figures: Mapping[str, Any], options: BinaryOptions) -> Table:
    """Counts and rates at each operating point."""
    rows = []
    for name, rule in rules(options).items():
        at = figures["operating_points"].get(name)
        if at is None:
            rows.append((f"{name}: {rule}", *["-"] * 8, "0"))
            continue
        rates = [shown_rate(at[rate]) for rate in ("sensitivity", "specificity", "precision")]
        per_ml = _shown_per_ml(at["false_targets_per_ml"])
        counts = (str(at[key]) for key in ("TP", "FP", "FN", "TN"))
        rows.append((f"{name}: {rule}", *counts, *rates, per_ml, str(at["folds"])))
    header = (
        "operating point", "TP", "FP", "FN", "TN", "sensitivity", "specificity", "precision", "false per mL", "folds",
    )  # fmt: skip
    note = (
        "Each fold's own threshold, chosen on its validation part; counts are sums over the folds that have one. False "
        f"per mL: false-positive rate x {options.wbc_per_ml:g} leukocytes per mL that reach the classifier "
        "(wbc_per_ml of CTCBinaryMetric)."
    )
    return Table(f"Operating points ({pool.title})", header, tuple(rows), note)


def _shown_per_ml(content: Mapping[str, Any]) -> str:
    if content["value"] is None:
        return "-"
    low, high = content["interval"]
    return f"{content['value']:.3g} ({low:.3g} to {high:.3g})"


def _draw(
    pool: _Pool, curves: Sequence[NamedCurve], suffix: str, pictures: list[Picture], files: dict[str, str]
) -> None:
    """ROC, precision-recall and confusion of a pool, as PNG and CSV."""
    folds = [named_curve(one.fold.name, one.predictions.gt, one.predictions.score, kind="fold") for one in pool.results]
    drawn = [one for one in folds if not math.isnan(one.auc)]
    mean = mean_roc([(one.curve.fpr, one.curve.sensitivity) for one in drawn]) if len(pool.results) > 1 else None
    spread = mean_sd([one.auc for one in folds])
    label = f"mean of {spread.n} folds: AUC {shown(spread.mean)} ± {shown(spread.sd)} (SD)"
    others = [replace(one, name=_names(pool, one.name), marks={}) for one in curves]
    target, rest = _target_and_rest(pool.results[0])
    counts = pool.result.at[FIXED].counts
    title = f"{pool.title}: {counts.n_target} {target}, {counts.n_rest} {rest}"
    undefined = f"; {len(folds) - len(drawn)} folds lack a class and have no curve" if len(drawn) < len(folds) else ""
    pictures.append(
        Picture(f"roc{suffix}.png", draw_folds_roc(folds, mean, label, others, title), f"ROC ({title}){undefined}")
    )
    files[f"roc{suffix}.csv"] = roc_csv([*others, *folds])
    if mean is not None:
        files[f"roc_mean{suffix}.csv"] = _mean_roc_csv(mean)
    shared = [one for one in others if one.kind == "model"] + (drawn if len(folds) > 1 else [])
    pictures.append(Picture(f"pr{suffix}.png", draw_pr(shared, title), f"Precision-recall ({title})"))
    files[f"pr{suffix}.csv"] = pr_csv([*others, *folds])
    matrices = {name: (0.5 if name == FIXED else None, one) for name, one in pool.counts.items()}
    png = draw_confusion(matrices, target, rest, title)
    caption = f"Confusion matrices in cells ({title}); thresholds other than 0.5 are each fold's own"
    pictures.append(Picture(f"confusion{suffix}.png", png, caption))
    files[f"confusion{suffix}.csv"] = confusion_csv(matrices)


def _names(pool: _Pool, name: str) -> str:
    what = "all folds" if len(pool.results) > 1 else "test"
    return what if name == "classifier" else name


def _target_and_rest(result: FoldResult) -> tuple[str, str]:
    target = result.metrics["target"]
    others = [name for name in result.metrics["classes"] if name != target]
    return target, others[0] if len(others) == 1 else "rest"


def _mean_roc_csv(mean: MeanROC) -> str:
    columns = (mean.fpr.tolist(), mean.mean.tolist(), mean.sd.tolist())
    return csv_text(("fpr", "mean_sensitivity", "sd"), list(zip(*columns, strict=True)))
