"""Which background priors an SSD learns from: those it takes for cells most (paper 3.1; reading 2)."""

from __future__ import annotations

import torch
from torch import Tensor


def mine_over_batch(losses: Tensor, positive: Tensor, mineable: Tensor, ratio: float, blank_negatives: int) -> Tensor:
    """Choose the hardest negatives of the whole batch.

    Their number is ``int(sum_i min(ratio * positives_i, mineable_i))``; a batch without any positive takes
    ``blank_negatives``, so that blank fields teach too.

    Args:
        losses: (N, P) float, classification loss of every prior.
        positive: (N, P) bool.
        mineable: (N, P) bool, negatives that may be chosen.
        ratio: negatives a positive, above 0; need not be whole.
        blank_negatives: negatives for a batch without positives.

    Returns:
        (N, P) bool, the chosen negatives.
    """
    positives, available = positive.sum(1), mineable.sum(1)
    wanted = int(torch.minimum(ratio * positives, available.to(losses.dtype)).sum())
    if not positives.any():
        wanted = min(blank_negatives, int(available.sum()))
    return _hardest(losses.flatten(), mineable.flatten(), wanted).view_as(mineable)


def mine_per_image(losses: Tensor, positive: Tensor, mineable: Tensor, ratio: float, blank_negatives: int) -> Tensor:
    """Choose the hardest negatives image by image; an image without a positive takes ``blank_negatives``.

    Arguments and result are those of ``mine_over_batch``.
    """
    chosen = []
    for loss, num_positive, candidates in zip(losses, positive.sum(1).tolist(), mineable, strict=True):
        wanted = int(ratio * num_positive) if num_positive else blank_negatives
        chosen.append(_hardest(loss, candidates, min(wanted, int(candidates.sum()))))
    return torch.stack(chosen)


def take_all(losses: Tensor, positive: Tensor, mineable: Tensor, ratio: float, blank_negatives: int) -> Tensor:
    """Choose all negatives, as a focal loss wants it (Lin et al. 2017).

    Arguments and result are those of ``mine_over_batch``; the losses and both numbers do not matter.
    """
    return mineable


def _hardest(losses: Tensor, candidates: Tensor, number: int) -> Tensor:
    chosen = torch.zeros_like(candidates)
    chosen[losses.masked_fill(~candidates, -torch.inf).topk(number).indices] = True
    return chosen
