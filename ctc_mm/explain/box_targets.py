"""Which prior a kept box came from, and its logit: what Grad-CAM of a detector differentiates (reading 12).

MMDetection detaches scores in ``predict`` and forgets which prior a box belongs to. Both are won back without touching
a line of the head, so that any head works: ``predict_by_feat`` is asked twice. Once as in a test, for the boxes that
are kept. Once with the head's own boxes but our own scores, which fall from prior to prior: sorted by score, its answer
lists the decoded box of every prior. A kept box is the prior with the same box and the same score.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor, nn

from ctc_mm.errors import ConfigError
from ctc_mm.explain.head_outputs import PriorOutputs, read_outputs, replace_scores

# Both sides come from the same float32 numbers through the same code; only the last bits may differ.
BOX_RTOL, SCORE_ATOL = 1e-4, 1e-4


@dataclass(frozen=True)
class KeptBoxes:
    """The K boxes of one image that survive threshold and NMS, best first, each with its prior's logit.

    Attributes:
        boxes_xyxy: float32 (K, 4), original image, px.
        scores: float32 (K,), as the head reports them.
        labels: int64 (K,).
        priors: int64 (K,), index among all priors of the image, levels one after the other.
        levels: int64 (K,), the pyramid level of the prior.
        logits: (K,), differentiable: see :meth:`ctc_mm.explain.head_outputs.PriorOutputs.logits`.
    """

    boxes_xyxy: Tensor
    scores: Tensor
    labels: Tensor
    priors: Tensor
    levels: Tensor
    logits: Tensor


def trace_kept_boxes(
    head: nn.Module,
    outs: Sequence,
    img_meta: Mapping[str, Any],
    score_thr: float | Sequence[float],
    against_background: bool = False,
) -> KeptBoxes:
    """Predict as in a test and trace each kept box to its prior's logit.

    Args:
        head: a dense head of MMDetection 3.x with its ``test_cfg``.
        outs: what ``head(features)`` returned for one image, with the autograd graph.
        img_meta: the image's meta information (``img_shape``, ``scale_factor``, ...).
        score_thr: boxes with a lower score are not kept; one number, or one a class.
        against_background: see :meth:`ctc_mm.explain.head_outputs.PriorOutputs.logits`.

    Raises:
        ValueError: the number of thresholds is not the number of classes.
        ConfigError: the head is no such head, or a kept box is not the box of any prior.
    """
    outputs = read_outputs(head, outs)
    with torch.no_grad():
        detached = _detach(outs)
        boxes, scores, labels = _predict(head, detached, img_meta)
        order = scores.argsort(descending=True, stable=True)
        order = order[scores[order] >= _threshold_of(labels[order], score_thr, outputs)]
        boxes, scores, labels = boxes[order], scores[order], labels[order]
        priors = labels.new_zeros(0)
        if len(boxes):
            priors = _match(head, outputs, decode_priors(head, detached, img_meta), boxes, scores, labels)
    return KeptBoxes(
        boxes, scores, labels, priors, outputs.levels[priors], outputs.logits(priors, labels, against_background)
    )


@torch.no_grad()
def decode_priors(head: nn.Module, outs: Sequence, img_meta: Mapping[str, Any]) -> Tensor:
    """The box that the head predicts at every prior, decoded by the head itself.

    Args:
        head: a dense head of MMDetection 3.x.
        outs: what ``head(features)`` returned for one image.
        img_meta: the image's meta information.

    Returns:
        float32 (P, 4) xyxy, original image, px.

    Raises:
        ConfigError: the head gives back another number of boxes than it has priors.
    """
    levels = read_outputs(head, outs).levels
    count = len(levels)
    # Evenly spaced logits: in float32 they stay distinct, and above the threshold, for millions of priors.
    codes = torch.linspace(-1, -11, count, device=levels.device).sigmoid()
    cfg = copy.deepcopy(head.test_cfg)
    cfg.update(score_thr=1e-6, nms_pre=count, min_bbox_size=-1, conf_thr=-1)
    replaced = replace_scores(head, _detach(outs), codes)
    boxes, scores, _ = _predict(head, replaced, img_meta, cfg=cfg, with_nms=False)
    if len(boxes) != count:
        raise ConfigError(
            f"{type(head).__name__}.predict_by_feat gives {len(boxes)} boxes for {count} priors with every filter "
            "off, so its kept boxes cannot be traced to priors"
        )
    return boxes[scores.argsort(descending=True, stable=True)]


def _threshold_of(labels: Tensor, score_thr: float | Sequence[float], outputs: PriorOutputs) -> Tensor:
    classes = outputs.class_logits.shape[1] - outputs.softmax
    thresholds = torch.as_tensor(score_thr, dtype=torch.float32, device=labels.device)
    if thresholds.ndim and len(thresholds) != classes:
        raise ValueError(f"`score_thr` must be one number or one for each of {classes} classes; received {score_thr}")
    return thresholds.expand(classes)[labels]


def _predict(
    head: nn.Module, outs: Sequence, img_meta: Mapping[str, Any], **kwargs: Any
) -> tuple[Tensor, Tensor, Tensor]:
    rescale = img_meta.get("scale_factor") is not None
    # Some heads (YOLOv3) work in place on what they are given.
    found = head.predict_by_feat(*_detach(outs), batch_img_metas=[dict(img_meta)], rescale=rescale, **kwargs)[0]
    return get_box_tensor(found.bboxes).float(), found.scores.float(), found.labels.long()


def _match(
    head: nn.Module, outputs: PriorOutputs, decoded: Tensor, boxes: Tensor, scores: Tensor, labels: Tensor
) -> Tensor:
    """int64 (K,): the prior of each kept box. The score tells apart priors whose boxes are clipped to the same one."""
    all_scores = outputs.scores()
    reweighted = "soft" in str((head.test_cfg.get("nms") or {}).get("type", ""))
    priors = []
    for box, score, label in zip(boxes, scores, labels, strict=True):
        # A diverging model's boxes may be infinite, and infinity minus infinity is not 0.
        distance = torch.where(decoded == box, 0, decoded - box).abs().amax(1)
        box_distance = distance / box.nan_to_num(posinf=0, neginf=0).abs().max().clamp(min=1)
        score_distance = (all_scores[:, label] - score).abs()
        prior = (box_distance + score_distance).argmin() if not reweighted else box_distance.argmin()
        traced = box_distance[prior] <= BOX_RTOL and (reweighted or score_distance[prior] <= SCORE_ATOL)
        if not traced:
            raise ConfigError(
                f"{type(head).__name__}: the box {[round(v, 2) for v in box.tolist()]} with score {score:.4f} is not "
                f"that of any prior (nearest: {[round(v, 2) for v in decoded[prior].tolist()]} with "
                f"{all_scores[prior, label]:.4f}), so its logit is unknown: the head scores or moves boxes in a way "
                "of its own"
            )
        priors.append(prior)
    return torch.stack(priors)


def _detach(outs: Tensor | Sequence) -> Any:
    return outs.detach().clone() if isinstance(outs, Tensor) else tuple(_detach(item) for item in outs)
