"""``predictions.csv``: what a classifier said of each cell, written and read back; pooled by cross-validation."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ctc_mm.errors import AnnotationError
from ctc_mm.evaluation.output import csv_text
from ctc_mm.formats.files import atomic_write_text

PREDICTIONS_FILE = "predictions.csv"
COLUMNS = (
    "cell_id", "channel", "group", "source", "path", "x0", "y0", "x1", "y1", "label", "gt", "pred", "score",
    "calibrated", "logit", "diameter_um", "diameter_px",
)  # fmt: skip
TEXT_FIELDS = ("cell_id", "channel", "group", "source", "path", "label")
FLAG_FIELDS = ("gt", "pred")
NUMBER_FIELDS = ("score", "calibrated", "logit", "diameter_um", "diameter_px")
BOX_COLUMNS = ("x0", "y0", "x1", "y1")
OPTIONAL_NUMBERS = (*BOX_COLUMNS, "calibrated", "diameter_um", "diameter_px")


@dataclass(frozen=True, eq=False)
class Predictions:
    """One entry a sample (an image of a cell in one channel).

    Args:
        cell_id, channel, group, source, path, label: text (N,), '' where unknown; ``label`` is the true class.
        box_xyxy: float64 (N, 4), pixels of ``source``; NaN where unknown.
        gt: int64 (N,), 1 = target (CTC), 0 = rest.
        pred: int64 (N,), 1 where ``score >= 0.5``.
        score: float64 (N,), probability of the target as the network gives it.
        calibrated: float64 (N,), after temperature scaling; NaN where no temperature was at hand.
        logit: float64 (N,), log-odds of the target.
        diameter_um, diameter_px: float64 (N,), NaN where unknown.

    Raises:
        ValueError: a field of another length, a truth other than 0 or 1, a score that is not finite.
    """

    cell_id: np.ndarray
    channel: np.ndarray
    group: np.ndarray
    source: np.ndarray
    path: np.ndarray
    box_xyxy: np.ndarray
    label: np.ndarray
    gt: np.ndarray
    pred: np.ndarray
    score: np.ndarray
    calibrated: np.ndarray
    logit: np.ndarray
    diameter_um: np.ndarray
    diameter_px: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.cell_id)
        for one in fields(self):
            shape, wanted = getattr(self, one.name).shape, (n, 4) if one.name == "box_xyxy" else (n,)
            if shape != wanted:
                raise ValueError(f"`{one.name}` must have shape {wanted}. Received: {shape}")
        for name in FLAG_FIELDS:
            if not np.isin(getattr(self, name), (0, 1)).all():
                raise ValueError(f"`{name}` must be 0 or 1. Received: {np.unique(getattr(self, name))[:5].tolist()}")
        for name in ("score", "logit"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"`{name}` must be finite")

    def __len__(self) -> int:
        return len(self.cell_id)

    def take(self, index: np.ndarray) -> Predictions:
        """Return the samples at ``index`` (positions or a bool mask), in that order."""
        return Predictions(**{one.name: getattr(self, one.name)[index] for one in fields(self)})


def pool_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Join the predictions of several folds into one, in order.

    Raises:
        ValueError: there are none.
    """
    if not parts:
        raise ValueError("no predictions to pool")
    return Predictions(
        **{one.name: np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Predictions)}
    )


def sorted_predictions(predictions: Predictions) -> Predictions:
    """Sort by cell, channel and file, so that the order of evaluation leaves no trace."""
    order = np.lexsort((predictions.score, predictions.path, predictions.channel, predictions.cell_id))
    return predictions.take(order)


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write ``predictions.csv``: sorted, floats by ``repr`` so that they read back bit for bit, '' where unknown."""
    table = sorted_predictions(predictions)
    boxes = dict(zip(BOX_COLUMNS, table.box_xyxy.T, strict=True))
    columns = [(boxes[name] if name in boxes else getattr(table, name)).tolist() for name in COLUMNS]
    atomic_write_text(path, csv_text(COLUMNS, zip(*columns, strict=True)))


def read_predictions(path: str | Path) -> Predictions:
    """Read what ``write_predictions`` wrote.

    Raises:
        AnnotationError: no such file, a column is missing, no row, or a cell of the table that is no number; it names
            file, line and column.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: cannot be read: {error}") from error
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    header = next(csv.reader(io.StringIO(text, newline="")), [])
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise AnnotationError(f"{path}: columns missing: {', '.join(missing)}; is it a predictions.csv of ctc_mm?")
    if not rows:
        raise AnnotationError(f"{path}: holds no prediction; the evaluation that wrote it saw no cell")
    numbers = {name: _numbers(path, rows, name) for name in (*BOX_COLUMNS, *FLAG_FIELDS, *NUMBER_FIELDS)}
    try:
        return Predictions(
            **{name: np.array([row[name] or "" for row in rows], dtype=np.str_) for name in TEXT_FIELDS},
            **{name: numbers[name].astype(np.int64) for name in FLAG_FIELDS},
            **{name: numbers[name] for name in NUMBER_FIELDS},
            box_xyxy=np.stack([numbers[name] for name in BOX_COLUMNS], axis=1),
        )
    except ValueError as error:
        raise AnnotationError(f"{path}: {error}") from error


def _numbers(path: Path, rows: Sequence[dict[str, str | None]], name: str) -> np.ndarray:
    values = np.empty(len(rows), np.float64)
    for index, row in enumerate(rows):
        text = row[name]
        try:
            values[index] = math.nan if text == "" and name in OPTIONAL_NUMBERS else float(text)
        except (TypeError, ValueError) as error:
            raise AnnotationError(f"{path}, line {index + 2}, column {name}: no number. Received: {text!r}") from error
        if name in FLAG_FIELDS and values[index] not in (0, 1):
            raise AnnotationError(f"{path}, line {index + 2}, column {name}: must be 0 or 1. Received: {text!r}")
    return values
