"""What a finished fold has left behind, read back."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctc_mm.engine.cross_validation.plan import FINAL, PlannedFold
from ctc_mm.engine.curves.learning_curves import Curve, read_curves
from ctc_mm.engine.runs.run_folder import RunFolder
from ctc_mm.errors import AnnotationError
from ctc_mm.evaluation.functional import PRCurve
from ctc_mm.evaluation.predictions import PREDICTIONS_FILE, Predictions, read_predictions
from ctc_mm.evaluation.report import curve_files


@dataclass(frozen=True, eq=False)
class FoldResult:
    """One finished fold.

    Attributes:
        fold: what was planned.
        metrics: content of its ``metrics.json``.
        values: flat figures by name, NaN where undefined.
        curves: learning curves by name.
        times: seconds of training and test, and whether the training was resumed.
        predictions: of a classifier.
        pr_curves: of a detector, by class.
    """

    fold: PlannedFold
    metrics: Mapping[str, Any]
    values: Mapping[str, float]
    curves: Mapping[str, Curve]
    times: Mapping[str, Any]
    predictions: Predictions | None
    pr_curves: Mapping[str, PRCurve]

    @property
    def is_final(self) -> bool:
        """Whether it was tested on what had been held out of all folds."""
        return self.fold.name.startswith(FINAL)


def read_fold(fold: PlannedFold, folder: RunFolder) -> FoldResult:
    """Read the results of a finished fold.

    Raises:
        AnnotationError: a file is missing or damaged; it names the file.
    """
    metrics = _read_json(folder.test / "metrics.json")
    values = {name: math.nan if value is None else float(value) for name, value in metrics["values"].items()}
    is_cells = (folder.test / PREDICTIONS_FILE).is_file()
    done = folder.done()
    return FoldResult(
        fold=fold,
        metrics=metrics,
        values=values,
        curves=read_curves(folder.model),
        times={name: done.get(name) for name in ("train_seconds", "test_seconds", "resumed")},
        predictions=read_predictions(folder.test / PREDICTIONS_FILE) if is_cells else None,
        pr_curves={} if is_cells else read_pr_curves(folder.test, metrics),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AnnotationError(
            f"{path}: cannot be read ({error}); delete {path.parents[1] / 'done.json'} and run again to have this fold "
            "tested again"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("values"), dict):
        raise AnnotationError(f"{path}: holds no `values`; is it the metrics.json of a metric of ctc_mm?")
    return content


def read_pr_curves(test_dir: Path, metrics: Mapping[str, Any]) -> dict[str, PRCurve]:
    """The precision-recall curve of each class of a detector, as ``tools/test.py`` wrote it."""
    curves = {}
    for name, file_name in curve_files(metrics["classes"]).items():
        with (test_dir / file_name).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        score = np.array([float(row["score"]) for row in rows], np.float64)
        tp, fp = (np.array([int(row[key]) for row in rows], np.int64) for key in ("tp", "fp"))
        curves[name] = PRCurve(score, tp, fp, int(metrics["per_class"][name]["truth"]))
    return curves


def pool_pr_curves(curves: Sequence[PRCurve]) -> PRCurve:
    """The curve of all folds' predictions together, equal scores one point.

    Args:
        curves: of one class, a fold each.
    """
    steps = [(c.score, np.diff(c.tp, prepend=0), np.diff(c.fp, prepend=0)) for c in curves]
    scores, tp, fp = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    distinct, place = np.unique(scores, return_inverse=True)
    sums = [np.bincount(place, step, distinct.size)[::-1].cumsum().astype(np.int64) for step in (tp, fp)]
    return PRCurve(distinct[::-1], *sums, sum(curve.n_truth for curve in curves))
