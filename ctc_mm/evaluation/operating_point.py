"""The score threshold at which a model is used: chosen on validation, kept with the weights, applied to test.

A threshold chosen on the images that are then reported flatters the result. So ``CTCDetMetric`` (detectors) and
``CTCBinaryMetric`` (classifiers) choose it while validating and publish it, ``OperatingPointHook`` stores it in the
checkpoint of exactly those weights, and a test applies it unchanged. ``kind`` tells the two apart; a point without it
is a detector's, from a checkpoint of before there were classifiers::

    point = frozen_operating_point(checkpoint)
    if point is None:  # the checkpoint was saved before its validation, or trained elsewhere
        runner.val()
        point = published_operating_point()
    apply_operating_point(cfg.test_evaluator, point)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ctc_mm.errors import CheckpointError, ConfigError
from ctc_mm.evaluation.classification_point import KIND as CLASSIFICATION
from ctc_mm.evaluation.classification_point import ClassificationPoint
from ctc_mm.evaluation.functional import DetectionSummary

META_KEY = "ctc_operating_point"
DETECTION = "detection"
METRIC_NAMES = {DETECTION: "CTCDetMetric", CLASSIFICATION: "CTCBinaryMetric"}


@dataclass(frozen=True)
class OperatingPoint:
    """Score thresholds of best F1, and what they were chosen on.

    Args:
        target: the class that matters most; it always has a threshold.
        thresholds: by class, a prediction counts if its score is >= this; None where no true object was found.
        f1: F1 at the threshold, by class, on the images it was chosen on; None as above.
        iou_thr: overlap that made a hit.
        n_images: number of images it was chosen on.
        epoch, iter: finished epochs and iterations of the weights (None outside a training run).
    """

    target: str
    thresholds: dict[str, float | None]
    f1: dict[str, float | None]
    iou_thr: float
    n_images: int
    epoch: int | None = None
    iter: int | None = None

    def __post_init__(self) -> None:
        if self.thresholds.get(self.target) is None:
            raise ValueError(f"the target {self.target!r} needs a threshold. Received: {self.thresholds}")
        for name, threshold in self.thresholds.items():
            if threshold is not None and not (isinstance(threshold, int | float) and math.isfinite(threshold)):
                raise ValueError(f"the threshold of {name!r} must be a finite number or None. Received: {threshold!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, strings and numbers: fits JSON, a config, and a checkpoint loaded with weights only."""
        return {"kind": DETECTION, **asdict(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> OperatingPoint:
        """Read what ``to_dict`` wrote.

        Raises:
            ValueError: a key is missing or unknown, or a threshold is no number.
        """
        if not isinstance(content, Mapping):
            raise ValueError(f"an operating point must be a dict as in metrics.json. Received: {content!r}")
        content = {key: value for key, value in content.items() if key != "kind"}
        known, needed = set(cls.__dataclass_fields__), {"target", "thresholds", "f1", "iou_thr", "n_images"}
        if not needed <= set(content) <= known:
            raise ValueError(
                f"an operating point has the keys {sorted(needed)} and may have {sorted(known - needed)}. "
                f"Received: {sorted(content)}"
            )
        plain = {key: dict(value) if isinstance(value, Mapping) else value for key, value in content.items()}
        if not isinstance(plain["thresholds"], dict) or not isinstance(plain["f1"], dict):
            raise ValueError(
                "`thresholds` and `f1` of an operating point map class names to numbers. "
                f"Received: {plain['thresholds']!r} and {plain['f1']!r}"
            )
        return cls(**plain)


def point_from_dict(content: Mapping[str, Any]) -> OperatingPoint | ClassificationPoint:
    """Read a point of either kind.

    Raises:
        ValueError: it is none, or its kind is unknown, or a key or a value is wrong.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"an operating point must be a dict as in metrics.json. Received: {content!r}")
    kinds = {DETECTION: OperatingPoint, CLASSIFICATION: ClassificationPoint}
    kind = content.get("kind", DETECTION)
    if kind not in kinds:
        raise ValueError(f"the `kind` of an operating point is one of {sorted(kinds)}. Received: {kind!r}")
    return kinds[kind].from_dict(content)


def choose_operating_point(summary: DetectionSummary, target: str) -> OperatingPoint | None:
    """Take each class's threshold of best F1 from a result.

    Returns:
        None if no threshold finds a single object of the target class: there is nothing to choose by.
    """
    best = {name: one.best for name, one in summary.per_class.items()}
    if best[target] is None:
        return None
    return OperatingPoint(
        target=target,
        thresholds={name: found.score_thr if found else None for name, found in best.items()},
        f1={name: found.counts.f1 if found else None for name, found in best.items()},
        iou_thr=summary.iou_thr,
        n_images=summary.n_images,
    )


def publish_operating_point(point: OperatingPoint | ClassificationPoint | None) -> None:
    """Put the point (None: none could be chosen) where hooks and tools of this process find it."""
    from mmengine.logging import MessageHub

    # resumed=False: the hub's copy is not written into checkpoints, where it could outlive the weights it belongs to.
    content = None if point is None else point.to_dict()
    MessageHub.get_current_instance().update_info(META_KEY, content, resumed=False)


def published_operating_point() -> dict[str, Any] | None:
    """Return the point that the last evaluation of this process published, as a dict; None if there is none."""
    from mmengine.logging import MessageHub

    return MessageHub.get_current_instance().get_info(META_KEY)


def stamped(content: Mapping[str, Any], epoch: int, iteration: int) -> dict[str, Any]:
    """Note the finished epochs and iterations of the weights that a point belongs to."""
    return replace(point_from_dict(content), epoch=epoch, iter=iteration).to_dict()


def frozen_operating_point(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the operating point stored with the weights.

    Args:
        checkpoint: what ``torch.load`` gave.

    Returns:
        The point for the metric's ``operating_point``; None if the checkpoint holds none (it was saved before its
        validation, or by a training without ``OperatingPointHook``).

    Raises:
        CheckpointError: there is one, but it is damaged.
    """
    content = (checkpoint.get("meta") or {}).get(META_KEY)
    if content is None:
        return None
    try:
        return point_from_dict(content).to_dict()
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"meta[{META_KEY!r}] of the checkpoint cannot be used: {error}. Remove the key to have the threshold "
            "chosen again on validation"
        ) from error


def metric_kind(metric: Any) -> str | None:
    """``detection`` or ``classification`` if the config is of our metric, by name or class; else None."""
    of_config = metric.get("type") if isinstance(metric, Mapping) else None
    name = getattr(of_config, "__name__", str(of_config)).rpartition(".")[2]
    return next((kind for kind, ours in METRIC_NAMES.items() if ours == name), None)


def is_ctc_metric(metric: Any) -> bool:
    """Whether a metric's config is one that chooses and applies operating points."""
    return metric_kind(metric) is not None


def apply_operating_point(evaluator: dict | Sequence[dict], point: Mapping[str, Any]) -> int:
    """Set the point in every metric of its kind in an evaluator's config, in place.

    Args:
        evaluator: config of one metric or a list of them.
        point: see ``frozen_operating_point``.

    Returns:
        Number of metrics set.

    Raises:
        ConfigError: the evaluator holds no metric of the point's kind.
    """
    metrics = [evaluator] if isinstance(evaluator, Mapping) else list(evaluator)
    kind = point.get("kind", DETECTION)
    ours = [metric for metric in metrics if metric_kind(metric) == kind]
    if not ours:
        name = METRIC_NAMES.get(kind, METRIC_NAMES[DETECTION])
        raise ConfigError(
            f"the evaluator holds no `ctc_mm.{name}` to apply the operating point in; add "
            f"`dict(type='ctc_mm.{name}')` to `test_evaluator`"
        )
    for metric in ours:
        metric["operating_point"] = dict(point)
    return len(ours)
