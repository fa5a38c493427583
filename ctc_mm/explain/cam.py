"""Grad-CAM on tensors: one map a level, and their weighted fusion (paper 2.6.3 and 3.4, Eq. 3, 4; reading 12).

Nothing here knows a detector: activations and gradients come in, maps go out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

# A map whose range is this small a part of its largest value carries rounding noise only.
CONSTANT_RTOL = 1e-5


def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM of one layer: ``ReLU(sum_k alpha_k A^k)``, alpha_k the spatial mean of the gradient (Eq. 3, 4).

    Args:
        activation: (C, H, W), the layer's output A.
        gradient: (C, H, W), dY/dA of the explained score Y.

    Returns:
        (H, W), not negative, not normalised.

    Raises:
        ValueError: the shapes differ or are not (C, H, W).
    """
    if activation.ndim != 3 or activation.shape != gradient.shape:
        raise ValueError(
            f"`activation` and `gradient` must both be (C, H, W) of one shape; "
            f"received {tuple(activation.shape)} and {tuple(gradient.shape)}"
        )
    alpha = gradient.mean(dim=(1, 2))
    return torch.einsum("k,khw->hw", alpha, activation).relu()


def normalize_map(cam: Tensor) -> Tensor:
    """Stretch a map to [0, 1]; a constant one (a 1x1 level, a level without any gradient) becomes zero.

    Args:
        cam: (H, W).

    Returns:
        (H, W) of the same dtype.
    """
    low, high = cam.min(), cam.max()
    if high - low <= CONSTANT_RTOL * torch.maximum(high.abs(), low.abs()):
        return torch.zeros_like(cam)
    return (cam - low) / (high - low)


def level_weights(num_levels: int) -> Tensor:
    """Weights of the levels in the fusion, finest first: ``num_levels, ..., 2, 1`` (6..1 for SSD300; paper 3.4).

    Returns:
        float32 (num_levels,).
    """
    return torch.arange(num_levels, 0, -1, dtype=torch.float32)


def resample_map(
    cam: Tensor, input_hw: tuple[int, int], valid_hw: tuple[int, int], original_hw: tuple[int, int]
) -> Tensor:
    """Bring a level's map to the original image: up to the network's input, padding cut, on to the original size.

    Args:
        cam: (h, w), spanning the whole network input.
        input_hw: height and width of the network input, padding included, px.
        valid_hw: its upper left part that shows the image, px.
        original_hw: height and width of the original image, px.

    Returns:
        (H, W) = ``original_hw``, bilinear.
    """
    upsampled = interpolate(cam[None, None], size=input_hw, mode="bilinear", align_corners=False)
    cropped = upsampled[..., : valid_hw[0], : valid_hw[1]]
    return interpolate(cropped, size=original_hw, mode="bilinear", align_corners=False)[0, 0]


def fuse_maps(maps: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of the levels' maps over the sum of the weights, so that maps in [0, 1] stay there (paper 3.4).

    Args:
        maps: (L, H, W).
        weights: (L,), see :func:`level_weights`.

    Returns:
        (H, W).

    Raises:
        ValueError: not one weight a level.
    """
    if maps.ndim != 3 or weights.shape != maps.shape[:1]:
        raise ValueError(
            f"`weights` must hold one value a level of `maps` (L, H, W); "
            f"received {tuple(weights.shape)} for {tuple(maps.shape)}"
        )
    return torch.einsum("l,lhw->hw", weights / weights.sum(), maps)


def multilevel_grad_cam(score: Tensor, activations: Sequence[Tensor]) -> list[Tensor]:
    """Normalised Grad-CAM of every level from one backward pass; no parameter's ``.grad`` is touched.

    Args:
        score: scalar Y, part of an autograd graph that reaches the activations.
        activations: one (1, C, H, W) tensor a level; a level that Y does not depend on gets a zero map.

    Returns:
        One (H, W) map a level in [0, 1], detached.
    """
    gradients = torch.autograd.grad(score, list(activations), allow_unused=True, materialize_grads=True)
    return [
        normalize_map(grad_cam(activation.detach()[0], gradient[0]))
        for activation, gradient in zip(activations, gradients, strict=True)
    ]
