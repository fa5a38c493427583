"""From evaluated samples of MMPretrain to arrays: what the model said of each cell, and where the cell comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctc_mm.errors import ConfigError
from ctc_mm.evaluation.predictions import Predictions
from ctc_mm.evaluation.thumbnails import path_text

# The smallest normal float32: what a softmax in float32 can give beside 0.
TINY = float(np.finfo(np.float32).tiny)
# A softmax in bfloat16 adds up to 1 only roughly.
SUM_TOLERANCE = 0.05
NO_BOX = (float("nan"),) * 4


@dataclass(frozen=True)
class EvaluatedCell:
    """One evaluated sample as plain values; '' and NaN where the data say nothing.

    Args:
        scores: softmax probabilities by class.
        gt_label: number of the true class.
        sample_idx: position in the data set, -1 where unknown.
        copy_index: number of an augmented copy, -1 where the data set makes none.
    """

    scores: tuple[float, ...]
    gt_label: int
    cell_id: str
    channel: str
    group: str
    source: str
    path: str
    split: str
    box_xyxy: tuple[float, float, float, float]
    diameter_um: float
    diameter_px: float
    sample_idx: int
    copy_index: int

    @property
    def key(self) -> tuple[Any, ...] | None:
        """What tells samples apart; None where nothing does."""
        key = (self.sample_idx, self.cell_id, self.channel, self.path, self.copy_index)
        return None if key == (-1, "", "", "", -1) else key

    @property
    def name(self) -> str:
        """For messages."""
        return self.path or self.cell_id or f"sample {self.sample_idx}"


def _values(value: Any) -> list[float]:
    """Tensor (any device, also bfloat16), array, number or sequence -> plain floats."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().double().numpy()
    return np.asarray(value, np.float64).reshape(-1).tolist()


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _path(sample: Mapping[str, Any]) -> str:
    """Files and planes of a sample in one text."""
    paths = sample.get("img_paths") or [sample.get("img_path") or ""]
    return path_text(list(paths), list(sample.get("img_planes") or [None] * len(paths)))


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def evaluated_cell(sample: Mapping[str, Any]) -> EvaluatedCell:
    """Read one evaluated sample.

    Args:
        sample: an MMPretrain ``DataSample`` as dict, with ``pred_score``, ``gt_label`` and ``CELL_META_KEYS`` (each of
            which may be missing: folder data know only ``img_path``, which then also names the cell).

    Raises:
        ConfigError: no truth, several true labels, no scores, or scores that are no softmax.
    """
    path = _path(sample)
    name = path or _text(sample.get("cell_id")) or "a sample"
    truth = _values(sample["gt_label"]) if sample.get("gt_label") is not None else []
    if len(truth) != 1:
        raise ConfigError(
            f"{name}: needs one true label, has {len(truth)}; let the val/test pipeline end in `PackInputs`, over a "
            "data set with labels"
        )
    if sample.get("pred_score") is None:
        raise ConfigError(f"{name}: carries no `pred_score`; the model's head must give class probabilities")
    scores = _values(sample["pred_score"])
    if not np.isfinite(scores).all():
        raise ConfigError(
            f"{name}: `pred_score` holds NaN or infinity; predictions like that mean that training diverged (lower the "
            "learning rate, start from a sound checkpoint)"
        )
    if len(scores) < 2 or min(scores) < 0 or abs(sum(scores) - 1) > SUM_TOLERANCE:
        raise ConfigError(
            f"{name}: `pred_score` must be a softmax over at least two classes. Received: {np.round(scores[:8], 4)}"
        )
    box = sample.get("box_xyxy")
    return EvaluatedCell(
        scores=tuple(scores),
        gt_label=int(truth[0]),
        cell_id=_text(sample.get("cell_id")) or path,
        channel=_text(sample.get("channel")),
        group=_text(sample.get("group")),
        source=_text(sample.get("source")),
        path=path,
        split=_text(sample.get("split")),
        box_xyxy=NO_BOX if box is None else tuple(_values(box)),
        diameter_um=_number(sample.get("diameter_um")),
        diameter_px=_number(sample.get("diameter_px")),
        sample_idx=int(sample.get("sample_idx", -1)),
        copy_index=-1 if sample.get("copy_index") is None else int(sample["copy_index"]),
    )


def without_repeats(records: Sequence[EvaluatedCell]) -> tuple[list[EvaluatedCell], int]:
    """Drop samples that were evaluated twice (a distributed sampler fills up the last batch), keeping the first.

    Returns:
        The samples and how many were dropped.

    Raises:
        ConfigError: one sample with two different true labels.
    """
    kept: dict[Any, EvaluatedCell] = {}
    for index, record in enumerate(records):
        first = kept.setdefault(index if record.key is None else record.key, record)
        if first.gt_label != record.gt_label:
            raise ConfigError(f"{record.name}: came twice, with the labels {first.gt_label} and {record.gt_label}")
    return list(kept.values()), len(records) - len(kept)


def predictions_of(records: Sequence[EvaluatedCell], classes: Sequence[str], target: str) -> Predictions:
    """Put samples into arrays, the target against the rest.

    Raises:
        ConfigError: a sample with another number of scores than there are classes, or with an unknown label.
    """
    for record in records:
        if len(record.scores) != len(classes) or not 0 <= record.gt_label < len(classes):
            raise ConfigError(
                f"{record.name}: {len(record.scores)} scores and label {record.gt_label}, but the data set has the "
                f"{len(classes)} classes {tuple(classes)}; `model.head.num_classes` must be {len(classes)}"
            )
    index = list(classes).index(target)
    scores = np.array([record.scores for record in records], np.float64)
    score = scores[:, index]
    rest = np.delete(scores, index, axis=1).sum(axis=1)
    labels = np.array([record.gt_label for record in records], np.int64)
    text = {
        name: np.array([getattr(record, name) for record in records], dtype=np.str_)
        for name in ("cell_id", "channel", "group", "source", "path")
    }
    return Predictions(
        **text,
        box_xyxy=np.array([record.box_xyxy for record in records], np.float64),
        label=np.array([classes[label] for label in labels], dtype=np.str_),
        gt=(labels == index).astype(np.int64),
        pred=(score >= 0.5).astype(np.int64),
        score=score,
        calibrated=np.full(len(records), np.nan),
        # From both sides: 1 - score is 0 for every score that rounds to 1, the other classes' sum is not.
        logit=np.log(np.maximum(score, TINY)) - np.log(np.maximum(rest, TINY)),
        diameter_um=np.array([record.diameter_um for record in records], np.float64),
        diameter_px=np.array([record.diameter_px for record in records], np.float64),
    )
