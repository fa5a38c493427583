"""Selecting boxes as part of a graph: thresholds, best ones of each level, NMS and the best of an image.

The same steps as ``post_processing.select_boxes``, on whole batches: what falls away keeps its place with a score of
-1, so that every shape but the batch is fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from ctc_mm.counting.engines.model_file import BoxRules
from ctc_mm.counting.engines.preparation import Geometry
from ctc_mm.errors import ConfigError

NMS_KEYS = {"type", "iou_threshold", "class_agnostic"}


@torch.library.custom_op("ctc_mm::suppressed", mutates_args=())
def suppressed(boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Scores (N, C, P) after NMS of every image and class: -1 where a better box overlaps, or no score was above 0.

    Args:
        boxes_xyxy: float32 (N, P, 4).
        scores: float32 (N, C, P).
        iou_threshold: boxes that overlap by more are one.
    """
    kept = torch.full_like(scores, -1)
    for image, of_image in enumerate(scores):
        for label, of_class in enumerate(of_image):
            places = (of_class > 0).nonzero()[:, 0]
            places = places[torchvision.ops.nms(boxes_xyxy[image, places], of_class[places], iou_threshold)]
            kept[image, label, places] = of_class[places]
    return kept


@suppressed.register_fake
def _(boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return torch.empty_like(scores)


def translations() -> dict[Callable, Callable]:
    """How the exporter writes :func:`suppressed`: by ONNX's NonMaxSuppression."""
    import numpy as np
    from onnxscript import opset18 as op

    def in_onnx(boxes_xyxy: Any, scores: Any, iou_threshold: float) -> Any:
        most = op.Constant(value=_tensor(np.array([np.iinfo(np.int32).max], np.int64)))
        limits = [op.Constant(value=_tensor(np.array([value], np.float32))) for value in (iou_threshold, 0.0)]
        selected = op.NonMaxSuppression(boxes_xyxy, scores, most, *limits)  # (K, 3): image, class, prior
        nothing = op.Expand(op.Constant(value=_tensor(np.array(-1, np.float32))), op.Shape(scores))
        return op.ScatterND(nothing, selected, op.GatherND(scores, selected))

    return {torch.ops.ctc_mm.suppressed.default: in_onnx}


def _tensor(values: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(values)


def require_nms_in_graph(rules: BoxRules, name: str) -> None:
    """Refuse an NMS that ONNX has no operation for.

    Raises:
        ConfigError: it is of another type, or has settings beside its threshold.
    """
    nms = dict(rules.nms)
    if nms.get("type") != "nms" or set(nms) - NMS_KEYS:
        raise ConfigError(
            f"{name}: its test_cfg.nms {nms} cannot be part of the file, only dict(type='nms', iou_threshold=...) can; "
            "export with --nms outside"
        )


class BoxSelection(nn.Module):
    """From scores and boxes of all priors to the boxes of each image, best first.

    Args:
        rules: the model's ``test_cfg``.
        geometry: how windows lie in the input; boxes end at its ``image_hw``.
        classes: number of classes.
    """

    def __init__(self, rules: BoxRules, geometry: Geometry, classes: int) -> None:
        super().__init__()
        self.rules, self.classes = rules, classes
        height, width = geometry.image_hw
        self.register_buffer(
            "edge", torch.tensor([width, height, width, height], dtype=torch.float32), persistent=False
        )
        # test_cfg's smallest side is in pixels of the window.
        least = [rules.min_bbox_size * scale for scale in geometry.scale_wh]
        self.register_buffer("least_wh", torch.tensor(least, dtype=torch.float32), persistent=False)
        pairs = sum(rules.level_sizes) * classes
        self.most = min(rules.max_per_img, pairs) if rules.max_per_img > 0 else pairs

    def forward(self, scores: Tensor, boxes_xyxy: Tensor, factors: Tensor | None = None) -> tuple[Tensor, ...]:
        """Select.

        Args:
            scores: float32 (N, P, classes).
            boxes_xyxy: float32 (N, P, 4), pixels of the input.
            factors: float32 (N, P) or None.

        Returns:
            Scores (N, M), labels (N, M) and boxes (N, M, 4); rows without a box, the last ones, have score 0 and
            label -1.
        """
        scores = self._candidates(scores)
        if factors is not None:
            scores = torch.where(scores > 0, scores * factors[..., None], scores)
        if self.rules.clip:
            boxes_xyxy = torch.minimum(boxes_xyxy.clamp(min=0), self.edge)
        if self.rules.min_bbox_size >= 0:
            large = ((boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]) > self.least_wh).all(-1, keepdim=True)
            scores = torch.where(large, scores, -torch.ones_like(scores))
        kept = self._after_nms(scores.transpose(1, 2), boxes_xyxy)
        best, places = kept.topk(self.most, dim=1)
        priors = boxes_xyxy.shape[1]
        boxes = boxes_xyxy.gather(1, (places % priors)[..., None].expand(-1, -1, 4))
        labels = torch.where(best > 0, places // priors, -torch.ones_like(places))
        return best.clamp(min=0), labels, boxes

    def _candidates(self, scores: Tensor) -> Tensor:
        """Scores above the threshold and among the best of their level; -1 elsewhere."""
        scores = torch.where(scores > self.rules.score_thr, scores, -torch.ones_like(scores))
        most = self.rules.nms_pre
        levels = scores.split(self.rules.level_sizes, dim=1)
        return torch.cat([_best(one, most) if 0 <= most < one.shape[1] * self.classes else one for one in levels], 1)

    def _after_nms(self, scores: Tensor, boxes_xyxy: Tensor) -> Tensor:
        """(N, classes * P): of every class by itself, or of all together."""
        if self.rules.nms.get("class_agnostic", False):
            boxes_xyxy, scores = boxes_xyxy.repeat(1, self.classes, 1), scores.flatten(1)[:, None]
        return suppressed(boxes_xyxy, scores.contiguous(), float(self.rules.nms["iou_threshold"])).flatten(1)


def _best(scores: Tensor, most: int) -> Tensor:
    """Scores (N, L, classes) with all but the ``most`` best of an image at -1."""
    flat = scores.flatten(1)
    values, places = flat.topk(most, dim=1)
    return torch.full_like(flat, -1).scatter(1, places, values).unflatten(1, scores.shape[1:])
