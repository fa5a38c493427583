"""VGG16 weights of torchvision, Caffe, MMPretrain and MMDetection, renamed for MMDetection's ``SSDVGG``."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ctc_mm.errors import CheckpointError

CONVS_PER_STAGE = (2, 2, 3, 3, 3)
STAGE_CHANNELS = (64, 128, 256, 512, 512)
# torchvision and MMPretrain build BatchNorm2d with its default; a state dict does not hold it.
BATCH_NORM_EPS = 1e-5
# SSD's fc6 and fc7 as `SSDVGG` numbers them, behind the 13 convolutions and a pool of stride 1.
FC6, FC7 = "features.31", "features.33"
FC6_SHAPE, FC7_SHAPE = (1024, 512, 3, 3), (1024, 1024, 1, 1)
# The classifier's two hidden layers stand in the head where the backbone is convolutions alone.
HEAD_LAYERS = {"head.layers.0.fc": "classifier.0", "head.layers.1.fc": "classifier.3"}

_FIRST_CONV = re.compile(r"(?P<prefix>.*?)features\.0\.(?:conv\.)?weight")


def vgg16_to_ssd_vgg(state_dict: Mapping[str, Tensor], prefix: str | None = None) -> dict[str, Tensor]:
    """Name the weights of a VGG16 as ``mmdet.SSDVGG(depth=16)`` does.

    Layouts told apart by their keys: torchvision's ``features.N`` (also Caffe's and an ``SSDVGG`` itself), the same
    with BatchNorm, and MMPretrain's ``backbone.features.N.conv`` with or without ``.bn``, its fully connected layers in
    the backbone or in the head. BatchNorm is folded into its convolution (exact for a network in eval mode). SSD's fc6
    and fc7 are taken over from a detector, or sampled from the classifier's two hidden layers: every third position of
    the 7x7 kernel and every fourth channel, as in SSD (Liu 2016, section 3, after DeepLab); without either they are
    left out and stay randomly initialised.

    Args:
        state_dict: name -> float tensor of the whole network.
        prefix: what stands before ``features.``, as ``backbone.``; None finds it.

    Returns:
        ``features.{0,2,5,...,28}.{weight,bias}`` of the 13 convolutions and, where known, ``features.{31,33}``.

    Raises:
        CheckpointError: no VGG, several of them, or one whose convolutions are missing or not of VGG16's shapes.
    """
    prefix = _find_prefix(state_dict) if prefix is None else prefix
    weights = {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}
    with_norm = "features.0.bn.running_mean" in weights or "features.1.running_mean" in weights
    in_module = "features.0.conv.weight" in weights
    source_indices = _conv_indices(modules_per_conv=1 if in_module else 2 + with_norm)
    converted: dict[str, Tensor] = {}
    problems: list[str] = []
    for (label, shape), source, target in zip(_conv_names_and_shapes(), source_indices, _conv_indices(2), strict=True):
        conv = f"features.{source}.conv" if in_module else f"features.{source}"
        norm = f"features.{source}.bn" if in_module else f"features.{source + 1}"
        try:
            weight, bias = _conv_tensors(weights, conv, norm if with_norm else None, shape)
        except CheckpointError as error:
            problems.append(f"{label} ({prefix}{conv}): {error}")
            continue
        converted[f"features.{target}.weight"], converted[f"features.{target}.bias"] = weight, bias
    if problems:
        raise CheckpointError(
            f"not a whole VGG16, {len(problems)} of 13 convolutions do not fit: " + "; ".join(problems)
        )
    return converted | _fc_as_convolutions(_hidden_layers_of_head(state_dict, prefix) | weights)


def _hidden_layers_of_head(state_dict: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The two hidden layers of MMPretrain's ``StackedLinearClsHead`` by torchvision's names."""
    beside = prefix.removesuffix("backbone.")
    return {
        f"{theirs}.{kind}": state_dict[f"{beside}{ours}.{kind}"]
        for ours, theirs in HEAD_LAYERS.items()
        for kind in ("weight", "bias")
        if f"{beside}{ours}.{kind}" in state_dict
    }


def _find_prefix(state_dict: Mapping[str, Tensor]) -> str:
    prefixes = sorted({match["prefix"] for key in state_dict if (match := _FIRST_CONV.fullmatch(key))})
    if not prefixes:
        found = ", ".join(list(state_dict)[:4]) or "nothing"
        raise CheckpointError(
            f"no VGG found: no key ends in `features.0.weight` or `features.0.conv.weight` ({found}, ...)"
        )
    if len(prefixes) > 1:
        raise CheckpointError(f"several VGGs found, at {prefixes}: choose one with `prefix`")
    return prefixes[0]


def _conv_indices(modules_per_conv: int) -> list[int]:
    """Where the 13 convolutions stand in ``features`` when each stage ends in one pool."""
    indices, position = [], 0
    for convs in CONVS_PER_STAGE:
        indices += [position + i * modules_per_conv for i in range(convs)]
        position += convs * modules_per_conv + 1
    return indices


def _conv_names_and_shapes() -> list[tuple[str, tuple[int, ...]]]:
    names, channels_in = [], 3
    for stage, (convs, channels) in enumerate(zip(CONVS_PER_STAGE, STAGE_CHANNELS, strict=True), start=1):
        for i in range(1, convs + 1):
            names.append((f"conv{stage}_{i}", (channels, channels_in, 3, 3)))
            channels_in = channels
    return names


def _conv_tensors(
    weights: Mapping[str, Tensor], conv: str, norm: str | None, shape: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Weight and bias of one convolution, its BatchNorm folded in."""
    needed = {f"{conv}.weight": shape, f"{conv}.bias": shape[:1]}
    if norm is not None:
        needed |= {f"{norm}.{name}": shape[:1] for name in ("weight", "bias", "running_mean", "running_var")}
    for key, expected in needed.items():
        if key not in weights:
            raise CheckpointError(f"`{key}` is missing")
        if tuple(weights[key].shape) != expected:
            raise CheckpointError(f"`{key}` has shape {tuple(weights[key].shape)}, expected {expected}")
    weight, bias = weights[f"{conv}.weight"], weights[f"{conv}.bias"]
    if norm is None:
        return weight, bias
    scale = weights[f"{norm}.weight"] * torch.rsqrt(weights[f"{norm}.running_var"] + BATCH_NORM_EPS)
    shifted = (bias - weights[f"{norm}.running_mean"]) * scale + weights[f"{norm}.bias"]
    return weight * scale[:, None, None, None], shifted


def _fc_as_convolutions(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of fc6 and fc7, or nothing where the file holds neither form of them."""

    def holds(layer: str, shape: tuple[int, ...]) -> bool:
        shapes = {f"{layer}.weight": shape, f"{layer}.bias": shape[:1]}
        return all(key in weights and tuple(weights[key].shape) == shapes[key] for key in shapes)

    if holds(FC6, FC6_SHAPE) and holds(FC7, FC7_SHAPE):
        return {f"{layer}.{kind}": weights[f"{layer}.{kind}"] for layer in (FC6, FC7) for kind in ("weight", "bias")}
    if not (holds("classifier.0", (4096, 512 * 7 * 7)) and holds("classifier.3", (4096, 4096))):
        return {}
    return {
        f"{FC6}.weight": weights["classifier.0.weight"].reshape(4096, 512, 7, 7)[::4, :, ::3, ::3],
        f"{FC6}.bias": weights["classifier.0.bias"][::4],
        f"{FC7}.weight": weights["classifier.3.weight"][::4, ::4, None, None],
        f"{FC7}.bias": weights["classifier.3.bias"][::4],
    }
