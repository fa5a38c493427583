"""The compiled ops that ctc_mm's configs need, from torchvision and torch, with mmcv's call signatures.

Everything here takes and returns what ``mmcv._ext`` does (argument names of mmcv's ``csrc/pytorch/pybind.cpp``, results
written into the tensors that mmcv's autograd functions hand over), so that mmcv's own Python wrappers stay in charge.
Float16 and bfloat16 are computed in float32 and rounded once at the end.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ctc_mm.compat.cures import HOW_TO_BUILD_OPS
from ctc_mm.errors import MissingOpError

__all__ = [
    "get_compiler_version",
    "get_compiling_cuda_version",
    "nms",
    "roi_align_backward",
    "roi_align_forward",
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_forward",
    "softmax_focal_loss_backward",
    "softmax_focal_loss_forward",
]

# mmcv's kernels clamp probabilities at C's FLT_MIN before the logarithm, in every dtype.
FLT_MIN = torch.finfo(torch.float32).tiny
POOL_MODE_AVERAGE = 1


def get_compiler_version() -> str:
    """Return what ``mmcv.utils.collect_env`` prints as the compiler of mmcv's ops."""
    return "none (ctc_mm's stand-in for mmcv._ext)"


def get_compiling_cuda_version() -> str:
    """Return what ``mmcv.utils.collect_env`` prints as the CUDA compiler; mmcv's own words for a build without."""
    return "not available"


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression, as mmcv's ``csrc/pytorch/cpu/nms.cpp``.

    A box goes when its IoU with a kept one is strictly above the threshold, in float32. Where both are without area
    the IoU is 0/0 and both stay. Equal scores are visited by rising index; mmcv leaves their order to an unstable
    sort, and agrees with this function in everything else.

    Args:
        boxes: (N, 4) float, x0 y0 x1 y1 in px; float64 is computed as such (the compiled op refuses it).
        scores: (N,) float.
        iou_threshold: rounded to float32 unless boxes or scores are float64.
        offset: 0 for half-open boxes, 1 where x1, y1 are the last pixel inside.

    Returns:
        (K,) int64 indices of kept boxes, by falling score.
    """
    if boxes.numel() == 0:
        return torch.empty(0, dtype=torch.long, device=boxes.device)
    dtype = torch.promote_types(torch.promote_types(boxes.dtype, scores.dtype), torch.float32)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    # C++ compares with a float: 0.6 becomes 0.60000002, which decides between "equal" and "above".
    iou_threshold = torch.tensor(iou_threshold, dtype=dtype).item()
    if offset == 0:
        from torchvision.ops import nms as torchvision_nms

        return torchvision_nms(boxes, scores, iou_threshold)
    return _nms_with_offset(boxes, scores, iou_threshold, offset)


def _nms_with_offset(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    # torchvision has no offset, and adding it to the boxes rounds differently than mmcv, which adds it to the widths.
    order = scores.argsort(descending=True, stable=True)
    x0, y0, x1, y1 = boxes[order].unbind(1)
    areas = (x1 - x0 + offset) * (y1 - y0 + offset)
    candidates = torch.arange(len(order), device=boxes.device)
    kept = []
    while candidates.numel():
        first, candidates = candidates[0], candidates[1:]
        kept.append(order[first])
        widths = torch.minimum(x1[first], x1[candidates]) - torch.maximum(x0[first], x0[candidates]) + offset
        heights = torch.minimum(y1[first], y1[candidates]) - torch.maximum(y0[first], y0[candidates]) + offset
        intersections = widths.clamp(min=0) * heights.clamp(min=0)
        ious = intersections / (areas[first] + areas[candidates] - intersections)
        # Not `ious <= iou_threshold`: 0/0 is nan and has to stay.
        candidates = candidates[~(ious > iou_threshold)]
    return torch.stack(kept)


def _roi_align(
    input: Tensor,
    rois: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> Tensor:
    from torchvision.ops import roi_align

    if pool_mode != POOL_MODE_AVERAGE:
        raise MissingOpError(
            "ctc_mm's stand-in for mmcv's compiled op `roi_align` has no max pooling. "
            f"Set pool_mode='avg' in the RoI layer. {HOW_TO_BUILD_OPS}"
        )
    return roi_align(
        input, rois, (aligned_height, aligned_width), float(spatial_scale), int(sampling_ratio), bool(aligned)
    )


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoI align with average pooling, written into ``output``.

    Args:
        input: (N, C, H, W) float.
        rois: (K, 5) float: index into N, then x0 y0 x1 y1 in px of the image.
        output: (K, C, aligned_height, aligned_width), overwritten.
        argmax_y: unused (max pooling only).
        argmax_x: unused (max pooling only).
        aligned_height: bins down.
        aligned_width: bins across.
        spatial_scale: feature px per image px.
        sampling_ratio: samples per bin and axis; 0: as many as the bin has px.
        pool_mode: 1 (average); 0 is max pooling.
        aligned: shift by half a feature px, so that samples lie at pixel centres.

    Raises:
        MissingOpError: for max pooling.
    """
    dtype = torch.promote_types(input.dtype, torch.float32)
    pooled = _roi_align(
        input.to(dtype),
        rois.to(dtype),
        aligned_height,
        aligned_width,
        spatial_scale,
        sampling_ratio,
        pool_mode,
        aligned,
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of ``roi_align_forward`` by its input, added to ``grad_input`` (N, C, H, W).

    Args:
        grad_output: (K, C, aligned_height, aligned_width) float.
        rois: as in ``roi_align_forward``, like all arguments that follow.
        argmax_y: unused (max pooling only).
        argmax_x: unused (max pooling only).
        grad_input: (N, C, H, W), changed in place.
        aligned_height: bins down.
        aligned_width: bins across.
        spatial_scale: feature px per image px.
        sampling_ratio: samples per bin and axis.
        pool_mode: 1 (average).
        aligned: shift by half a feature px.

    Raises:
        MissingOpError: for max pooling.
    """
    dtype = torch.promote_types(grad_output.dtype, torch.float32)
    # RoI align is linear in its input, so the gradient may be taken anywhere: at zero. This asks torchvision's public
    # function only, whose autograd knows the way back.
    with torch.enable_grad():
        origin = torch.zeros_like(grad_input, dtype=dtype, requires_grad=True)
        pooled = _roi_align(
            origin,
            rois.to(dtype),
            aligned_height,
            aligned_width,
            spatial_scale,
            sampling_ratio,
            pool_mode,
            aligned,
        )
        (gradient,) = torch.autograd.grad(pooled, origin, grad_output.to(dtype))
    grad_input.add_(gradient)


def _class_weights(target: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Weight of each sample's class, (N,); 1 where the target is no class (the compiled op reads past the end)."""
    if weight.numel() == 0:
        return torch.ones(target.shape, dtype=dtype, device=target.device)
    is_class = (target >= 0) & (target < weight.numel())
    chosen = weight.to(dtype)[target.clamp(0, weight.numel() - 1)]
    return torch.where(is_class, chosen, torch.ones_like(chosen))


def _is_target(target: Tensor, num_classes: int) -> Tensor:
    return target[:, None] == torch.arange(num_classes, device=target.device)


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Sigmoid focal loss of every logit (Lin 2017, Eq. 5), written into ``output``.

    Logarithms come from ``logsigmoid``; the compiled op takes the one of a rounded probability, which is too large
    for logits beyond about 16 in float32.

    Args:
        input: (N, C) float logits.
        target: (N,) int64 class in [0, C), or C for background.
        weight: (C,) weight of each class, or empty.
        output: (N, C), overwritten.
        gamma: exponent of the modulating factor.
        alpha: weight of the positive term.
    """
    logits = input.to(torch.promote_types(input.dtype, torch.float32))
    probability = logits.sigmoid()
    positive = alpha * (1 - probability).pow(gamma) * F.logsigmoid(logits)
    negative = (1 - alpha) * probability.pow(gamma) * F.logsigmoid(-logits)
    loss = -torch.where(_is_target(target, input.size(1)), positive, negative)
    output.copy_(loss * _class_weights(target, weight, logits.dtype)[:, None])


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Derivative of each sigmoid focal loss by its logit, written into ``grad_input`` (N, C).

    Args:
        input: as in ``sigmoid_focal_loss_forward``, like all arguments that follow.
        target: (N,) int64.
        weight: (C,), or empty.
        grad_input: (N, C), overwritten.
        gamma: exponent of the modulating factor.
        alpha: weight of the positive term.
    """
    logits = input.to(torch.promote_types(input.dtype, torch.float32))
    p = logits.sigmoid()
    positive = alpha * (1 - p).pow(gamma) * (1 - p - gamma * p * F.logsigmoid(logits))
    negative = (1 - alpha) * p.pow(gamma) * (gamma * (1 - p) * F.logsigmoid(-logits) - p)
    gradient = -torch.where(_is_target(target, input.size(1)), positive, negative)
    grad_input.copy_(gradient * _class_weights(target, weight, logits.dtype)[:, None])


def _probability_of_target(softmax: Tensor, target: Tensor) -> Tensor:
    """Probability of each sample's class, (N,); 1, which costs nothing, where the target is negative (ignored)."""
    chosen = softmax.gather(1, target.clamp(min=0)[:, None])[:, 0]
    return torch.where(target >= 0, chosen, torch.ones_like(chosen))


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Softmax focal loss of every sample, written into ``output``.

    Args:
        input: (N, C) float probabilities: mmcv has taken the softmax already.
        target: (N,) int64 class in [0, C); negative: ignored, loss 0.
        weight: (C,) weight of each class, or empty.
        output: (N,), overwritten.
        gamma: exponent of the modulating factor.
        alpha: weight of the loss.
    """
    softmax = input.to(torch.promote_types(input.dtype, torch.float32))
    p = _probability_of_target(softmax, target)
    loss = -alpha * (1 - p).pow(gamma) * p.clamp(min=FLT_MIN).log()
    output.copy_(loss * _class_weights(target, weight, softmax.dtype))


def softmax_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Gradient of the softmax focal loss by the logits, written into ``grad_input`` (N, C).

    Args:
        input: as in ``softmax_focal_loss_forward``, like all arguments that follow.
        target: (N,) int64.
        weight: (C,), or empty.
        buff: (N,), overwritten: the part that all classes of a sample share.
        grad_input: (N, C), overwritten.
        gamma: exponent of the modulating factor.
        alpha: weight of the loss.
    """
    softmax = input.to(torch.promote_types(input.dtype, torch.float32))
    p = _probability_of_target(softmax, target)
    # (1 - p) ** (gamma - 1) is infinite at p = 1 when gamma < 1, and infinity times log(1) is nan; the limit is 0.
    modulation_slope = gamma * (1 - p).clamp(min=FLT_MIN).pow(gamma - 1) * p * p.clamp(min=FLT_MIN).log()
    shared = alpha * (modulation_slope - (1 - p).pow(gamma)) * _class_weights(target, weight, softmax.dtype)
    shared = torch.where(target >= 0, shared, torch.zeros_like(shared))
    buff.copy_(shared)
    grad_input.copy_(shared[:, None] * (_is_target(target, input.size(1)).to(softmax.dtype) - softmax))
