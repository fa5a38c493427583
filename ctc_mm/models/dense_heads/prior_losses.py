"""What a prior's class costs: plain cross-entropy, or targets and weights that follow how well its box fits."""

from __future__ import annotations

import torch
from torch import Tensor


def class_losses(logits: Tensor, labels: Tensor, quality: Tensor | None = None, focal_gamma: float = 0.0) -> Tensor:
    """Cross-entropy of every prior, with soft targets and focal weights where asked.

    With ``quality`` the target of a positive is its class at the overlap of its box and background at the rest
    (quality-aware targets: Li et al. 2020, Generalized Focal Loss, section 3.1, here with a softmax), so that scores
    tell how well boxes fit. With ``focal_gamma`` each prior weighs ``|target - probability| ** focal_gamma`` (the same
    section, Eq. 4; on hard targets Lin et al. 2017, Focal Loss, Eq. 4 without alpha).

    Args:
        logits: (P, classes + 1) float before softmax, background last.
        labels: (P,) int, the class of a positive prior, ``classes`` for background.
        quality: (P,) float in 0..1, IoU of a positive's box with its cell; None: 1 for all.
        focal_gamma: 0 or more; 0 gives every prior the same weight.

    Returns:
        (P,) float losses.
    """
    log_probability = logits.log_softmax(1)
    own = log_probability.gather(1, labels[:, None]).squeeze(1)
    share = torch.ones_like(own) if quality is None else torch.where(labels < logits.shape[1] - 1, quality, 1.0)
    losses = -own if quality is None else -(share * own + (1 - share) * log_probability[:, -1])
    if focal_gamma:
        losses = losses * (share - own.exp()).abs() ** focal_gamma
    return losses
