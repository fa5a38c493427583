"""Detection folds summed up: average precision and counts of each class, pooled and averaged over folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

from ctc_mm.engine.cross_validation.drawing import draw_folds_pr
from ctc_mm.engine.cross_validation.results import FoldResult, pool_pr_curves
from ctc_mm.engine.cross_validation.section import Picture, Section, Table, shown, shown_rate, shown_spread
from ctc_mm.evaluation.binary_intervals import rate_json
from ctc_mm.evaluation.functional import Counts, PRCurve, average_precision
from ctc_mm.evaluation.functional.spread import mean_sd, number
from ctc_mm.evaluation.output import csv_text

FIXED, FROZEN = "at_score_thr", "at_frozen_thr"
CONFIDENCE = 0.95
RATES = ("precision", "recall")
NOTE = (
    "Pooled: the detections of all folds together, each image tested once by a model that was not trained on it. "
    "Counts are sums over folds; the frozen threshold is each fold's own, of best F1 on its validation part. Intervals "
    "95 %, exact (Clopper-Pearson), as if cells were independent. Mean ± SD (n - 1) is over folds where a class occurs."
)


def headline(metrics: Mapping[str, Any]) -> list[str]:
    """Figures worth a column, of a detector with these classes."""
    names = ["mAP50"]
    target = metrics["target"]
    for name in [target, *(one for one in metrics["classes"] if one != target)]:
        names += [f"AP50_{name}", f"precision_{name}@frozen", f"recall_{name}@frozen", f"f1_{name}@frozen"]
    return [*names, "mAP"]


def summarise_images(results: Sequence[FoldResult]) -> Section:
    """Sum up the folds of a detector.

    Args:
        results: finished folds of all repeats, and the final model's, in order.
    """
    repeats = sorted({one.fold.repeat for one in results if not one.is_final})
    pools = {
        "pooled" + (f", repeat {repeat}" if len(repeats) > 1 else ""): [
            one for one in results if not one.is_final and one.fold.repeat == repeat
        ]
        for repeat in repeats
    }
    finals = {one.fold.title: [one] for one in results if one.is_final}
    content: dict[str, Any] = {"pooled": [], "final": []}
    tables, pictures, files = [], [], {}
    for place, (title, members) in enumerate({**pools, **finals}.items()):
        suffix = "" if not place else f"_{title.replace(', ', '_').replace(' ', '_')}"
        classes = members[0].metrics["classes"]
        of_folds = {name: [one.pr_curves[name] for one in members] for name in classes}
        curves = {name: pool_pr_curves(of_folds[name]) for name in classes}
        per_class = {name: _class_json(members, name, curves[name]) for name in classes}
        content["final" if title in finals else "pooled"].append(
            {"title": title, "folds": len(members), "classes": per_class}
        )
        tables.append(_table(title, members, per_class, "results.csv" if not place else ""))
        caption = f"Precision-recall ({title}); thin lines: folds"
        pictures.append(Picture(f"pr{suffix}.png", draw_folds_pr(of_folds, curves, title), caption))
        files[f"pr{suffix}.csv"] = _pr_csv(curves)
    return Section(content, tables, pictures, files)


def _class_json(members: Sequence[FoldResult], name: str, curve: PRCurve) -> dict[str, Any]:
    return {
        "truth": curve.n_truth,
        "AP50": number(average_precision(curve)),
        FIXED: _counts_json(members, name, FIXED),
        FROZEN: _counts_json(members, name, FROZEN),
    }


def _counts_json(members: Sequence[FoldResult], name: str, point: str) -> dict[str, Any] | None:
    """Counts at a threshold summed over the folds that have one."""
    parts = [one.metrics["per_class"][name][point] for one in members]
    known = [Counts(part["TP"], part["FP"], part["FN"]) for part in parts if part is not None]
    if not known:
        return None
    total = reduce(add, known)
    return {
        "folds": len(known),
        "TP": total.tp, "FP": total.fp, "FN": total.fn,
        "precision": rate_json(total.tp, total.tp + total.fp, CONFIDENCE),
        "recall": rate_json(total.tp, total.tp + total.fn, CONFIDENCE),
        "f1": total.f1,
    }  # fmt: skip


def _table(title: str, members: Sequence[FoldResult], per_class: Mapping[str, Any], file: str) -> Table:
    header = ("class", "cells", "AP50 pooled", "AP50 mean ± SD", "threshold", "TP", "FP", "FN", *RATES, "F1")
    rows = []
    for name, one in per_class.items():
        spread = mean_sd([result.values.get(f"AP50_{name}") for result in members])
        head = (name, str(one["truth"]), shown(one["AP50"]), shown_spread(spread))
        for point, label in ((FIXED, "fixed"), (FROZEN, "frozen")):
            at = one[point]
            if at is not None:
                counts = (str(at[key]) for key in ("TP", "FP", "FN"))
                rates = (shown_rate(at[rate]) for rate in RATES)
                rows.append((*head, label, *counts, *rates, shown(at["f1"])))
    return Table(f"Results ({title})", header, tuple(rows), NOTE, file)


def _pr_csv(curves: Mapping[str, PRCurve]) -> str:
    rows = []
    for name, curve in curves.items():
        columns = (curve.score, curve.precision, curve.recall, curve.f1, curve.tp, curve.fp)
        rows += [(name, *values) for values in zip(*(column.tolist() for column in columns), strict=True)]
    return csv_text(("class", "score", "precision", "recall", "f1", "tp", "fp"), rows)
