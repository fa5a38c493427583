"""Grad-CAM of a single-stage detector for one image: what in the image raised the scores of its boxes (reading 12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ctc_mm.errors import ConfigError
from ctc_mm.explain.activations import class_features, evaluation_mode, layer_outputs, preprocess
from ctc_mm.explain.box_targets import KeptBoxes, trace_kept_boxes
from ctc_mm.explain.cam import fuse_maps, level_weights, multilevel_grad_cam, resample_map
from ctc_mm.explain.head_outputs import check_head

DEFAULT_SCORE_THR = 0.5


@dataclass(frozen=True)
class DetectionCAM:
    """Grad-CAM of one image with the boxes it explains; all maps in [0, 1] and of the original image's size.

    Attributes:
        fused: float32 (H, W), weighted sum of ``levels`` over the sum of ``weights``.
        levels: float32 (L, H, W), one normalised map a level, finest first; all zero where no box is explained.
        weights: float32 (L,), of each level in ``fused``: ``L, ..., 1`` over the whole pyramid.
        level_ids: int64 (L,), which levels of the pyramid these are.
        boxes_xyxy: float32 (K, 4) px, the boxes that were kept, best score first.
        scores: float32 (K,).
        labels: int64 (K,).
        box_levels: int64 (K,), the pyramid level of each box's prior.
        explained: bool (K,), whether the box is part of the explained score.
    """

    fused: np.ndarray
    levels: np.ndarray
    weights: np.ndarray
    level_ids: np.ndarray
    boxes_xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    box_levels: np.ndarray
    explained: np.ndarray


def explain_detection(
    model: nn.Module,
    data: Mapping[str, Any],
    *,
    score_thr: float | Sequence[float] = DEFAULT_SCORE_THR,
    target: str | int = "all",
    label: int | None = None,
    levels: Sequence[int] | None = None,
    layers: Sequence[str] | None = None,
    against_background: bool = False,
) -> DetectionCAM:
    """Explain the boxes that a detector keeps in one image.

    The explained score is the sum of the kept boxes' logits (of each box's own class), all levels come from one
    backward pass, and no gradient passes NMS. The model is left as it was: mode of every module, ``requires_grad``,
    ``.grad``, hooks, running statistics. Frozen parameters are no hindrance.

    Args:
        model: any single-stage detector of MMDetection 3.x with a dense head.
        data: one item of a test pipeline: ``inputs`` (C, H, W) and ``data_samples``.
        score_thr: boxes with a lower score are not kept; one number, or one a class (:func:`frozen_score_thr`).
        target: ``"all"`` kept boxes, ``"top1"`` or the index of one of them (0: best score).
        label: explain boxes of this class only.
        levels: explain these levels of the pyramid only (0: finest); their weights stay those of the whole pyramid.
        layers: names of modules to explain, finest first, as in ``model.named_modules()``; one that returns several
            maps counts as several levels. By default the last maps before the class logits
            (:func:`ctc_mm.explain.activations.class_features`): for SSD the neck's outputs.
        against_background: explain class logit minus background logit where the head has a softmax.

    Raises:
        ValueError: an option is out of range, or a layer's name is unknown.
        ConfigError: the model's boxes cannot be traced to priors.
    """
    if getattr(model, "bbox_head", None) is None or not hasattr(model, "extract_feat") or hasattr(model, "roi_head"):
        raise ConfigError(
            f"Grad-CAM explains single-stage detectors with a `bbox_head`; received {type(model).__name__}"
        )
    check_head(model.bbox_head)
    with evaluation_mode(model), torch.enable_grad():
        inputs, sample = preprocess(model, data)
        meta = sample.metainfo
        activations, outs = layer_outputs(model, inputs, layers) if layers else class_features(model, inputs)
        kept = trace_kept_boxes(model.bbox_head, outs, meta, score_thr, against_background)
        level_ids = _chosen_levels(levels, len(activations))
        explained = _chosen_boxes(kept, target, label, meta)
        cams = multilevel_grad_cam(kept.logits[explained].sum(), [activations[level] for level in level_ids])
    original_hw = tuple(int(size) for size in meta["ori_shape"][:2])
    input_hw = tuple(inputs.shape[-2:])
    valid_hw = _valid_hw(meta, input_hw, original_hw)
    maps = torch.stack([resample_map(cam.float(), input_hw, valid_hw, original_hw) for cam in cams]).cpu()
    weights = level_weights(len(activations))[level_ids]
    return DetectionCAM(
        fused=fuse_maps(maps, weights).numpy(),
        levels=maps.numpy(),
        weights=weights.numpy(),
        level_ids=np.array(level_ids, dtype=np.int64),
        boxes_xyxy=kept.boxes_xyxy.cpu().numpy(),
        scores=kept.scores.cpu().numpy(),
        labels=kept.labels.cpu().numpy(),
        box_levels=kept.levels.cpu().numpy(),
        explained=explained.cpu().numpy(),
    )


def _chosen_levels(levels: Sequence[int] | None, count: int) -> list[int]:
    if levels is None:
        return list(range(count))
    wrong = [level for level in levels if not 0 <= level < count]
    if wrong or not levels or len(set(levels)) != len(levels):
        raise ValueError(f"`levels` must be different numbers from 0 to {count - 1}; received {list(levels)}")
    return sorted(levels)


def _chosen_boxes(kept: KeptBoxes, target: str | int, label: int | None, meta: Mapping[str, Any]) -> Tensor:
    """Bool (K,): the boxes whose logits are summed. An image without kept boxes has none, whatever the target."""
    count = len(kept.labels)
    of_class = torch.ones_like(kept.labels, dtype=torch.bool) if label is None else kept.labels == label
    if target == "all" or not count:
        return of_class
    if target == "top1":
        first = torch.zeros_like(of_class)
        first[of_class.nonzero()[:1]] = True
        return first
    if isinstance(target, bool) or not isinstance(target, int) or target < 0:
        raise ValueError(f"`target` must be 'all', 'top1' or the index of a kept box; received {target!r}")
    if target >= count:
        image = meta.get("img_path", "the image")
        raise ValueError(f"{image}: `target` is box {target}, but only boxes 0 to {count - 1} are kept")
    one = torch.zeros_like(of_class)
    one[target] = of_class[target]
    return one


def _valid_hw(meta: Mapping[str, Any], input_hw: tuple[int, int], original_hw: tuple[int, int]) -> tuple[int, int]:
    """The part of the network input that shows the image; the rest, right and below, is padding."""
    if meta.get("scale_factor") is not None:
        scale_w, scale_h = meta["scale_factor"][:2]
        height, width = round(original_hw[0] * scale_h), round(original_hw[1] * scale_w)
    else:
        height, width = meta["img_shape"][:2]
    return max(1, min(height, input_hw[0])), max(1, min(width, input_hw[1]))
