"""The SSD head of the upgraded SSD: its loss, its mining, and a prediction that works (paper 3.1, Eq. 7)."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmdet.models.dense_heads import SSDHead
from mmdet.registry import MODELS as MMDET_MODELS
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from ctc_mm.errors import ConfigError
from ctc_mm.models.dense_heads.hard_negatives import mine_over_batch, mine_per_image, take_all
from ctc_mm.models.dense_heads.prior_losses import class_losses
from ctc_mm.registry import MODELS

KNOWN_TRAIN_KEYS = {
    *("assigner", "sampler", "allowed_border", "pos_weight", "debug", "smoothl1_beta"),  # MMDetection's
    *("neg_pos_ratio", "mining", "blank_negatives", "ignore_iof_thr", "quality_targets", "focal_gamma"),
}
MINERS = {"batch": mine_over_batch, "image": mine_per_image, "all": take_all}
# Probability of any cell that the untrained head gives a prior where all negatives count (Lin et al. 2017, 4.1).
FIRST_CELL_PROBABILITY = 0.01


@MODELS.register_module()
class CTCSSDHead(SSDHead):
    """SSD head with a fractional negative ratio and blank images that teach (paper 3.1; readings 2, 3).

    What differs from MMDetection's ``SSDHead``: ``neg_pos_ratio`` may be a fraction (1.2 in the paper); hard negatives
    are mined over the whole batch; a batch without any cell still teaches from ``blank_negatives`` priors; negatives
    inside ignore regions enter neither loss nor mining, whatever the assigner is told; and ``predict`` works (the
    library's head lacks ``loss_cls``).

    ``train_cfg`` takes, beside the assigner::

        neg_pos_ratio=1.2       # negatives mined for each positive prior
        mining='batch'          # or 'image', or 'all': no mining, for focal_gamma
        blank_negatives=100     # negatives mined where there is no positive at all
        ignore_iof_thr=0.5      # a negative prior with more than this share inside an ignore region is left out
        smoothl1_beta=1.0
        quality_targets=False   # a positive's target is the IoU of its box with the cell, not 1 (not in the paper)
        focal_gamma=0.0         # above 0, priors that are right already weigh less (not in the paper)

    Args:
        loss_bbox: a loss of MMDetection on decoded boxes in place of the paper's smooth-L1 on offsets, such as
            ``dict(type='GIoULoss', loss_weight=2.0)`` (Rezatofighi et al. 2019).
        **kwargs: those of ``mmdet.SSDHead``.

    Raises:
        ConfigError: a value of ``train_cfg`` is out of range.
    """

    def __init__(self, loss_bbox: dict | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.loss_cls = nn.CrossEntropyLoss(reduction="none")  # MMDetection's predict looks at it
        self.loss_bbox = None if loss_bbox is None else MMDET_MODELS.build(loss_bbox)
        self.reg_decoded_bbox = self.reg_decoded_bbox or self.loss_bbox is not None
        if self.train_cfg:
            self._read_train_cfg(self.train_cfg)

    def _read_train_cfg(self, train_cfg: dict) -> None:
        unknown = sorted(set(train_cfg) - KNOWN_TRAIN_KEYS)
        if unknown:
            raise ConfigError(f"train_cfg of CTCSSDHead: unknown keys {unknown}; known: {sorted(KNOWN_TRAIN_KEYS)}.")
        for name in ("neg_pos_ratio", "blank_negatives", "ignore_iof_thr", "smoothl1_beta", "focal_gamma"):
            value = train_cfg.get(name, 0)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ConfigError(f"train_cfg.{name} must be a number; received {value!r}.")
        self.neg_pos_ratio = float(train_cfg.get("neg_pos_ratio", 1.2))
        self.blank_negatives = int(train_cfg.get("blank_negatives", 100))
        self.ignore_iof_thr = float(train_cfg.get("ignore_iof_thr", 0.5))
        self.smoothl1_beta = float(train_cfg.get("smoothl1_beta", 1.0))
        self.focal_gamma = float(train_cfg.get("focal_gamma", 0.0))
        self.quality_targets = train_cfg.get("quality_targets", False)
        mining = train_cfg.get("mining", "batch")
        if self.neg_pos_ratio <= 0:
            raise ConfigError(f"train_cfg.neg_pos_ratio must be above 0; received {self.neg_pos_ratio}.")
        if self.blank_negatives < 0:
            raise ConfigError(f"train_cfg.blank_negatives must be 0 or more; received {self.blank_negatives}.")
        if not 0 <= self.ignore_iof_thr < 1:
            raise ConfigError(f"train_cfg.ignore_iof_thr must be in [0, 1); received {self.ignore_iof_thr}.")
        if self.smoothl1_beta < 0:
            raise ConfigError(f"train_cfg.smoothl1_beta must be 0 or more; received {self.smoothl1_beta}.")
        if self.focal_gamma < 0:
            raise ConfigError(f"train_cfg.focal_gamma must be 0 or more; received {self.focal_gamma}.")
        if not isinstance(self.quality_targets, bool):
            raise ConfigError(f"train_cfg.quality_targets must be True or False; received {self.quality_targets!r}.")
        if not isinstance(mining, str) or mining not in MINERS:
            raise ConfigError(f"train_cfg.mining must be one of {sorted(MINERS)}; received {mining!r}.")
        self.mine = MINERS[mining]

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` says; without mining background begins likely, or it would drown the cells."""
        super().init_weights()
        if self.train_cfg and self.mine is take_all:
            odds = (1 - FIRST_CELL_PROBABILITY) * self.num_classes / FIRST_CELL_PROBABILITY
            for branch in self.cls_convs:
                bias = branch[-1].bias.data.zero_()
                bias[self.num_classes :: self.cls_out_channels] = math.log(odds)

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: list,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list | None = None,
    ) -> dict[str, Tensor]:
        """Smooth-L1 on positives, cross-entropy on positives and mined negatives, over the positives (Eq. 7).

        Args:
            cls_scores: one (N, priors * (classes + 1), H, W) tensor a level, before softmax.
            bbox_preds: one (N, priors * 4, H, W) tensor a level.
            batch_gt_instances: ``bboxes`` (M, 4) xyxy px and ``labels`` (M,) of each image.
            batch_img_metas: meta information of each image.
            batch_gt_instances_ignore: ``bboxes`` of the ignore regions of each image.

        Returns:
            ``loss_cls`` and ``loss_bbox``, float32 scalars.
        """
        priors, valid = self.get_anchors([s.shape[-2:] for s in cls_scores], batch_img_metas, cls_scores[0].device)
        targets = self.get_targets(priors, valid, batch_gt_instances, batch_img_metas)
        labels, label_weights, bbox_targets = (torch.cat(levels, dim=1) for levels in targets[:3])
        logits = self._flatten(cls_scores, self.cls_out_channels).float()
        deltas = self._flatten(bbox_preds, 4).float()

        positive = (labels >= 0) & (labels < self.num_classes)
        mineable = ~positive & (label_weights > 0)
        mineable &= ~self._inside_ignored(priors, batch_gt_instances_ignore)

        quality, loss_bbox = self._box_terms(priors, deltas, bbox_targets, positive)
        losses = class_losses(logits.flatten(0, 1), labels.flatten(), quality, self.focal_gamma).view_as(labels)
        mined = self.mine(losses.detach(), positive, mineable, self.neg_pos_ratio, self.blank_negatives)
        # At least one per image, so that blank images weigh as much as one cell and nothing is divided by zero.
        num_positives = positive.sum(1).clamp(min=1).sum()
        loss_cls = losses[positive | mined].sum() / num_positives
        return dict(loss_cls=loss_cls, loss_bbox=loss_bbox / num_positives)

    def _box_terms(
        self, priors: list[list[Tensor]], deltas: Tensor, targets: Tensor, positive: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        """Overlap of every positive's box with its cell (N * P,), None unless asked for; and the summed box loss."""
        found, wanted = deltas[positive], targets[positive]
        if self.loss_bbox is None and not self.reg_decoded_bbox and not self.quality_targets:
            return None, smooth_l1_loss(found, wanted, beta=self.smoothl1_beta, reduction="sum")
        own_priors = torch.stack([torch.cat(levels) for levels in priors])[positive]
        found_xyxy = self.bbox_coder.decode(own_priors, found)
        wanted_xyxy = wanted if self.reg_decoded_bbox else self.bbox_coder.decode(own_priors, wanted)
        if self.reg_decoded_bbox:
            found, wanted = found_xyxy, wanted_xyxy
        if self.loss_bbox is None:
            loss = smooth_l1_loss(found, wanted, beta=self.smoothl1_beta, reduction="sum")
        else:  # an overlap of nothing has no gradient, and every weight is to take part
            loss = self.loss_bbox(found, wanted, reduction_override="sum") if len(found) else deltas.sum() * 0
        if not self.quality_targets:
            return None, loss
        quality = torch.zeros_like(positive, dtype=deltas.dtype)
        quality[positive] = bbox_overlaps(found_xyxy.detach(), wanted_xyxy, is_aligned=True).clamp(0, 1)
        return quality.flatten(), loss

    @staticmethod
    def _flatten(levels: list[Tensor], channels: int) -> Tensor:
        """(N, priors * channels, H, W) a level -> (N, all priors, channels)."""
        return torch.cat([x.permute(0, 2, 3, 1).reshape(len(x), -1, channels) for x in levels], dim=1)

    def _inside_ignored(self, priors: list[list[Tensor]], ignored: list | None) -> Tensor:
        """(N, all priors) bool: more than ``ignore_iof_thr`` of the prior lies inside one ignore region."""
        flat = [torch.cat(levels) for levels in priors]
        inside = torch.zeros(len(flat), len(flat[0]), dtype=torch.bool, device=flat[0].device)
        for row, boxes, instances in zip(inside, flat, ignored or [], strict=False):
            if instances is not None and len(instances):
                row |= bbox_overlaps(boxes, instances.bboxes, mode="iof").amax(1) > self.ignore_iof_thr
        return inside
