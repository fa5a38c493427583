"""The raw outputs of MMDetection's dense heads, read as one logit row a prior.

A *prior* is an anchor or an anchor point. Whatever the head, its outputs are (1, priors a cell * channels, H, W) maps,
and MMDetection lists a level's priors row by row, column by column, prior by prior: the order used here.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmdet.models.dense_heads import PAAHead, SSDHead, TOODHead, YOLOV3Head
from torch import Tensor, nn

from ctc_mm.errors import ConfigError

SCORE_FACTORS = ("score_factors", "objectnesses")
# Far enough for sigmoid and softmax to give exactly 0 or 1 in float32, near enough not to overflow in float16.
CERTAIN_LOGIT = 1e4


@dataclass(frozen=True)
class PriorOutputs:
    """What the head says of each of the P priors of one image, all levels one after the other.

    Attributes:
        class_logits: (P, C) before the activation; with softmax the last of the C channels is the background.
        factor_logits: (P,) before the sigmoid, of what multiplies the class score (objectness, centerness, IoU), or
            None for heads without.
        levels: int64 (P,), the pyramid level of each prior.
        softmax: whether classes compete (softmax), or each has its own sigmoid.
    """

    class_logits: Tensor
    factor_logits: Tensor | None
    levels: Tensor
    softmax: bool

    def scores(self) -> Tensor:
        """(P, classes): the score the head reports for each prior and class, the background left out."""
        scores = self.class_logits.softmax(-1)[:, :-1] if self.softmax else self.class_logits.sigmoid()
        return scores if self.factor_logits is None else scores * self.factor_logits.sigmoid()[:, None]

    def logits(self, priors: Tensor, labels: Tensor, against_background: bool = False) -> Tensor:
        """(K,) differentiable: the logit of class ``labels[k]`` at prior ``priors[k]``.

        Softmax and sigmoid heads: the class logit, before softmax or sigmoid (reading 12). Heads whose score is a
        product ``sigmoid(class) * sigmoid(factor)``: class logit + factor logit, so that both branches are explained.
        ``against_background`` subtracts the background's logit of a softmax head, without which a score stays the same
        when all logits rise together; a sigmoid's logit is one against the background already.
        """
        logits = self.class_logits[priors, labels]
        if against_background and self.softmax:
            logits = logits - self.class_logits[priors, -1]
        return logits if self.factor_logits is None else logits + self.factor_logits[priors]


def read_outputs(head: nn.Module, outs: Sequence) -> PriorOutputs:
    """Read what ``head(features)`` returned for one image.

    Args:
        head: a dense head of MMDetection 3.x.
        outs: its outputs; gradients are kept.

    Raises:
        ConfigError: the head does not score priors by softmax or sigmoid, so that no box has one logit.
    """
    check_head(head)
    if isinstance(head, YOLOV3Head):
        rows = [_rows(level, head.num_attrib) for level in outs[0]]
        flat = torch.cat(rows)
        return PriorOutputs(flat[:, 5:], flat[:, 4], _levels(rows), softmax=False)
    rows = [_rows(level, head.cls_out_channels) for level in outs[0]]
    logits = torch.cat(rows)
    if isinstance(head, TOODHead):  # its forward already returns probabilities
        logits = torch.logit(logits, eps=1e-6)
    factors = torch.cat([_rows(level, 1)[:, 0] for level in outs[2]]) if len(outs) > 2 else None
    return PriorOutputs(logits, factors, _levels(rows), softmax=not head.use_sigmoid_cls)


def replace_scores(head: nn.Module, outs: Sequence, scores: Tensor) -> tuple:
    """Outputs with the head's own boxes, but with the score of class 0 given for each prior and 0 for other classes.

    Args:
        head: a head that :func:`read_outputs` accepts.
        outs: its outputs, detached.
        scores: (P,) in (0, 1).

    Returns:
        Outputs for ``head.predict_by_feat``.
    """
    if isinstance(head, YOLOV3Head):
        rows = torch.cat([_rows(level, head.num_attrib) for level in outs[0]]).clone()
        rows[:, 4] = CERTAIN_LOGIT
        rows[:, 5:] = -CERTAIN_LOGIT
        rows[:, 5] = torch.logit(scores)
        return (_maps(rows, outs[0], head.num_attrib),)
    rows = scores.new_full((len(scores), head.cls_out_channels), -CERTAIN_LOGIT)
    # Beside a background logit of 0, softmax of a class logit is its sigmoid.
    rows[:, 0] = torch.logit(scores)
    if isinstance(head, TOODHead):
        rows = rows.sigmoid()
    elif not head.use_sigmoid_cls:
        rows[:, -1] = 0
    replaced = (_maps(rows, outs[0], head.cls_out_channels), outs[1])
    if len(outs) > 2:
        replaced += ([torch.full_like(level, CERTAIN_LOGIT) for level in outs[2]],)
    return replaced


def check_head(head: nn.Module) -> None:
    """Refuse a head whose boxes have no logit of their own, before anything is computed.

    Raises:
        ConfigError: naming the head and why.
    """
    name = type(head).__name__
    parameters = list(inspect.signature(getattr(head, "predict_by_feat", lambda: None)).parameters)
    if isinstance(head, YOLOV3Head):
        return
    if isinstance(head, PAAHead):
        raise ConfigError(f"{name} averages kept boxes over many priors, so none has a logit of its own to explain")
    if isinstance(head, SSDHead) and not hasattr(head, "loss_cls"):
        raise ConfigError(f"{name} of MMDetection cannot predict (it lacks `loss_cls`): use ctc_mm.CTCSSDHead")
    if parameters[:2] != ["cls_scores", "bbox_preds"] or parameters[2] not in (*SCORE_FACTORS, "batch_img_metas"):
        raise ConfigError(
            f"{name} is not a dense head that gives class scores and boxes for priors "
            f"(its predict_by_feat takes {', '.join(parameters) or 'nothing'}), so no logit can be traced: "
            "Grad-CAM explains heads such as SSD, RetinaNet, FCOS, ATSS, GFL, RTMDet and YOLOX"
        )
    if "param_preds" in parameters:
        raise ConfigError(f"{name} predicts masks beside boxes, which Grad-CAM of boxes does not explain")


def _rows(level: Tensor, channels: int) -> Tensor:
    """(1, priors a cell * channels, H, W) -> (priors of the level, channels)."""
    return level[0].permute(1, 2, 0).reshape(-1, channels)


def _maps(rows: Tensor, like: Sequence[Tensor], channels: int) -> list[Tensor]:
    """The inverse of :func:`_rows` over all levels; ``like`` gives the shape of each."""
    maps, start = [], 0
    for level in like:
        _, depth, height, width = level.shape
        count = depth // channels * height * width
        maps.append(rows[start : start + count].reshape(height, width, depth).permute(2, 0, 1)[None])
        start += count
    return maps


def _levels(rows: Sequence[Tensor]) -> Tensor:
    counts = torch.tensor([len(level) for level in rows], device=rows[0].device)
    return torch.repeat_interleave(torch.arange(len(rows), device=rows[0].device), counts)
