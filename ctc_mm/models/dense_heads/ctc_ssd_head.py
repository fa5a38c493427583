"""The SSD head of the upgraded SSD: its loss, its mining, and a prediction that works (paper 3.1, Eq. 7)."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.dense_heads import SSDHead
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from ctc_mm.errors import ConfigError
from ctc_mm.models.dense_heads.hard_negatives import mine_over_batch, mine_per_image
from ctc_mm.registry import MODELS

KNOWN_TRAIN_KEYS = {
    *("assigner", "sampler", "allowed_border", "pos_weight", "debug", "smoothl1_beta"),  # MMDetection's
    *("neg_pos_ratio", "mining", "blank_negatives", "ignore_iof_thr"),
}
MINERS = {"batch": mine_over_batch, "image": mine_per_image}


@MODELS.register_module()
class CTCSSDHead(SSDHead):
    """SSD head with a fractional negative ratio and blank images that teach (paper 3.1; readings 2, 3).

    What differs from MMDetection's ``SSDHead``: ``neg_pos_ratio`` may be a fraction (1.2 in the paper); hard negatives
    are mined over the whole batch; a batch without any cell still teaches from ``blank_negatives`` priors; negatives
    inside ignore regions enter neither loss nor mining, whatever the assigner is told; and ``predict`` works (the
    library's head lacks ``loss_cls``).

    ``train_cfg`` takes, beside the assigner::

        neg_pos_ratio=1.2       # negatives mined for each positive prior
        mining='batch'          # or 'image'
        blank_negatives=100     # negatives mined where there is no positive at all
        ignore_iof_thr=0.5      # a negative prior with more than this share inside an ignore region is left out
        smoothl1_beta=1.0

    Args:
        **kwargs: those of ``mmdet.SSDHead``.

    Raises:
        ConfigError: a value of ``train_cfg`` is out of range.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.loss_cls = nn.CrossEntropyLoss(reduction="none")
        if self.train_cfg:
            self._read_train_cfg(self.train_cfg)

    def _read_train_cfg(self, train_cfg: dict) -> None:
        unknown = sorted(set(train_cfg) - KNOWN_TRAIN_KEYS)
        if unknown:
            raise ConfigError(f"train_cfg of CTCSSDHead: unknown keys {unknown}; known: {sorted(KNOWN_TRAIN_KEYS)}.")
        for name in ("neg_pos_ratio", "blank_negatives", "ignore_iof_thr", "smoothl1_beta"):
            value = train_cfg.get(name, 0)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"train_cfg.{name} must be a number; received {value!r}.")
        self.neg_pos_ratio = float(train_cfg.get("neg_pos_ratio", 1.2))
        self.blank_negatives = int(train_cfg.get("blank_negatives", 100))
        self.ignore_iof_thr = float(train_cfg.get("ignore_iof_thr", 0.5))
        self.smoothl1_beta = float(train_cfg.get("smoothl1_beta", 1.0))
        mining = train_cfg.get("mining", "batch")
        if self.neg_pos_ratio <= 0:
            raise ConfigError(f"train_cfg.neg_pos_ratio must be above 0; received {self.neg_pos_ratio}.")
        if self.blank_negatives < 0:
            raise ConfigError(f"train_cfg.blank_negatives must be 0 or more; received {self.blank_negatives}.")
        if not 0 <= self.ignore_iof_thr < 1:
            raise ConfigError(f"train_cfg.ignore_iof_thr must be in [0, 1); received {self.ignore_iof_thr}.")
        if mining not in MINERS:
            raise ConfigError(f"train_cfg.mining must be one of {sorted(MINERS)}; received {mining!r}.")
        self.mine = MINERS[mining]

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

        losses = self.loss_cls(logits.flatten(0, 1), labels.flatten()).view_as(labels)
        mined = self.mine(losses.detach(), positive, mineable, self.neg_pos_ratio, self.blank_negatives)
        # At least one per image, so that blank images weigh as much as one cell and nothing is divided by zero.
        num_positives = positive.sum(1).clamp(min=1).sum()
        loss_cls = losses[positive | mined].sum() / num_positives
        if self.reg_decoded_bbox:
            decoded = [self.bbox_coder.decode(torch.cat(p), d) for p, d in zip(priors, deltas, strict=True)]
            deltas = torch.stack(decoded)
        loss_bbox = smooth_l1_loss(deltas[positive], bbox_targets[positive], beta=self.smoothl1_beta, reduction="sum")
        return dict(loss_cls=loss_cls, loss_bbox=loss_bbox / num_positives)

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
