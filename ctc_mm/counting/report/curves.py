"""What is known of the model from its test: precision and recall, ROC, and the numbers at the threshold used."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctc_mm.counting.performance import DETECTION, Performance
from ctc_mm.counting.report.svg import CurveLine, unit_plot
from ctc_mm.counting.report.words import number, percent
from ctc_mm.errors import SlideError
from ctc_mm.evaluation.report import curve_files

# Of the plots' sides, which are 1 long.
LEAST_STEP = 1 / 400
COLOURS = ("#0b62a8", "#8a929b", "#009e73", "#cc79a7")
JsonDict = dict[str, Any]


def curves_of(performance: Performance) -> JsonDict:
    """Plots and facts of a model's test, from the files beside its ``metrics.json``.

    Raises:
        SlideError: a curve's file lacks a column or holds no numbers.
    """
    folder, point = Path(performance.file).parent, _sensitivity(performance)
    if performance.kind == DETECTION:
        file = folder / curve_files([performance.target])[performance.target]
        plots = _pr_of_detector(file, performance) if file.is_file() else []
    else:
        plots = _of_classifier(folder, performance)
    tested = (
        f"{number(performance.images)} images" if performance.kind == DETECTION
        else f"{number(performance.others)} cells that are no {performance.target}"
    )  # fmt: skip
    facts = [
        ("sensitivity", f"{percent(point)} ({performance.hits} of {performance.truths} {performance.target} found)"),
        ("false positives", f"{number(performance.false_positives)} in {tested}"),
        ("threshold", f"{number(performance.threshold)} ({performance.rule}; {performance.source})"),
    ]
    missing = "" if plots else " The curves' files are not beside it."
    return {
        "lead": f"How the model did in its own test on cells of known truth; dots mark the threshold.{missing}",
        "plots": plots,
        "facts": facts,
    }


def _sensitivity(performance: Performance) -> float:
    return performance.hits / performance.truths


def _pr_of_detector(file: Path, performance: Performance) -> list[Any]:
    rows = _read(file, ("recall", "precision"))
    found = performance.hits + performance.false_positives
    point = (_sensitivity(performance), performance.hits / found) if found else None
    line = CurveLine(f"{performance.target} ({performance.truths} in the test)", _thin(rows), COLOURS[0], point)
    return [unit_plot("Precision and recall", "recall", "precision", [line])]


def _of_classifier(folder: Path, performance: Performance) -> list[Any]:
    plots = []
    sensitivity, found = _sensitivity(performance), performance.hits + performance.false_positives
    points = {
        "roc.csv": (performance.false_positives / performance.others, sensitivity),
        "pr.csv": (sensitivity, performance.hits / found) if found else None,
    }
    kinds = (
        ("roc.csv", "ROC", "false-positive rate", "sensitivity", "fpr"),
        ("pr.csv", "Precision and recall", "sensitivity (recall)", "precision", "sensitivity"),
    )
    for name, title, x_name, y_name, x_column in kinds:
        file = folder / name
        if not file.is_file():
            continue
        columns = (x_column, y_name.split(" ")[0])
        lines = []
        for place, curve in enumerate(_curve_names(file)):
            point = points[name] if place == 0 else None
            rows = _thin(_read(file, columns, curve))
            lines.append(CurveLine(curve, rows, COLOURS[place % len(COLOURS)], point))
        plots.append(unit_plot(title, x_name, y_name, lines, diagonal=name == "roc.csv"))
    return plots


def _curve_names(file: Path) -> list[str]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(dict.fromkeys(row.get("curve") or "" for row in csv.DictReader(stream)))


def _read(file: Path, columns: tuple[str, str], curve: str | None = None) -> list[tuple[float, float]]:
    """Points of a curve.

    Raises:
        SlideError: columns are missing or hold no numbers.
    """
    with file.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if curve is None or row.get("curve") == curve]
    try:
        points = [(row[columns[0]], row[columns[1]]) for row in rows]
        return [(float(x), float(y)) for x, y in points if x not in ("", "nan") and y not in ("", "nan")]
    except (KeyError, TypeError, ValueError) as error:
        raise SlideError(
            f"{file}: is no curve of tools/test.py with numbers in columns {' and '.join(columns)} ({error}); test the "
            "model again"
        ) from error


def _thin(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Points that lie apart as far as an eye sees it; the first and the last stay."""
    kept = list(points[:1])
    for x, y in points[1:-1]:
        if max(abs(x - kept[-1][0]), abs(y - kept[-1][1])) >= LEAST_STEP:
            kept.append((x, y))
    return (*kept, *points[1:][-1:])
