"""BiFPN: top-down and bottom-up fusion of levels with learned weights (EfficientDet)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from ctc_mm.errors import ConfigError
from ctc_mm.models.layers import SEPARABLE_INIT
from ctc_mm.models.necks.levels import check_inputs
from ctc_mm.registry import MODELS


class FusionNode(BaseModule):
    """Fast normalised fusion of feature maps of one size, then a separable convolution, BatchNorm and activation.

    Tan et al. 2020, sections 3.2 and 3.3: ``sum_i w_i / (eps + sum_j w_j) * I_i`` with ``w_i = max(0, parameter_i)``.

    Args:
        num_inputs: feature maps that meet here.
        channels: of each of them, and of the output.
        norm_cfg: the norm behind the convolution.
        act_cfg: the activation behind the norm.
        eps: keeps the quotient finite.
    """

    def __init__(self, num_inputs: int, channels: int, norm_cfg: dict, act_cfg: dict, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.fusion_weights = nn.Parameter(torch.ones(num_inputs))
        self.conv = DepthwiseSeparableConvModule(
            channels,
            channels,
            3,
            padding=1,
            bias=False,
            dw_norm_cfg=None,
            dw_act_cfg=None,
            pw_norm_cfg=norm_cfg,
            pw_act_cfg=act_cfg,
        )

    def normalised_weights(self) -> Tensor:
        """(num_inputs,) weights in [0, 1] that sum to just under 1, or to 0 where no parameter is positive."""
        weights = self.fusion_weights.relu()
        return weights / (weights.sum() + self.eps)

    def forward(self, *features: Tensor) -> Tensor:
        """Fuse ``num_inputs`` maps of (N, channels, H, W) to one."""
        weights = self.normalised_weights()
        fused = features[0] * weights[0]
        for index in range(1, len(features)):
            fused = fused + features[index] * weights[index]
        return self.conv(fused)


class BiFPNLayer(BaseModule):
    """One repetition of BiFPN (Tan et al. 2020, Fig. 2d): from coarse to fine, then from fine to coarse.

    The finest and the coarsest level have one node each, as a node with one input would fuse nothing; every level
    between hands its input on to its output node.

    Args:
        num_levels: at least 2.
        channels: of every level.
        norm_cfg: as in ``FusionNode``, like all arguments that follow.
        act_cfg: activation.
        eps: of the fusion.
    """

    def __init__(self, num_levels: int, channels: int, norm_cfg: dict, act_cfg: dict, eps: float) -> None:
        super().__init__()
        node_cfg = dict(channels=channels, norm_cfg=norm_cfg, act_cfg=act_cfg, eps=eps)
        # Index i is level i: all but the coarsest going down, all but the finest going up.
        self.top_down = ModuleList(FusionNode(2, **node_cfg) for _ in range(num_levels - 1))
        self.bottom_up = ModuleList(
            FusionNode(2 if level == num_levels - 1 else 3, **node_cfg) for level in range(1, num_levels)
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Fuse levels, finest first, each half the size of the one before, rounded up; shapes stay."""
        coarsest = len(features) - 1
        between = [features[coarsest]]
        for level in range(coarsest - 1, -1, -1):
            upsampled = F.interpolate(between[0], size=features[level].shape[-2:], mode="nearest")
            between.insert(0, self.top_down[level](features[level], upsampled))
        outputs = [between[0]]
        for level in range(1, coarsest + 1):
            middle = [between[level]] if level < coarsest else []
            outputs.append(self.bottom_up[level - 1](features[level], *middle, halve(outputs[-1])))
        return tuple(outputs)


@MODELS.register_module()
class BiFPN(BaseModule):
    r"""Bidirectional feature pyramid of EfficientDet (Tan et al. 2020, sections 3.1 to 3.3).

    .. code:: none

        P7 ──────────────── o        "o" fuses what arrives by learned weights, then separable convolution,
        P6 ──── o ───────── o        BatchNorm and activation; P4 to P6 also pass their input to the second o.
        P5 ──── o ───────── o        Down the first column maps are enlarged (nearest), up the second max-pooled.
        P4 ──── o ───────── o        All this num_layers times.
        P3 ──────────────── o

    Backbone levels enter by a 1x1 convolution with BatchNorm where their channels differ; further levels are made from
    the last one by such a convolution and max pooling, then by max pooling alone. Inputs of any size will do, if each
    level is half the one before, rounded up::

        neck=dict(type='ctc_mm.BiFPN', in_channels=(40, 112, 320), out_channels=64, num_outs=5, num_layers=3)

    Args:
        in_channels: channels of every backbone level that arrives, finest first.
        out_channels: channels of every level that leaves.
        num_outs: levels that leave, at least as many as arrive.
        num_layers: repetitions; EfficientDet-D0 has 3.
        norm_cfg: the norm behind every convolution.
        act_cfg: the activation of the fusion nodes; the paper's is swish.
        eps: of the fusion; the paper's is 1e-4.
        init_cfg: MMEngine's initialisation.

    Raises:
        ConfigError: fewer levels leave than arrive, less than two of them, no repetition, a level without channels, or
            no ``eps``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int = 5,
        num_layers: int = 3,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        eps: float = 1e-4,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg or SEPARABLE_INIT)
        if not in_channels or min(in_channels) < 1 or out_channels < 1:
            raise ConfigError(
                "BiFPN: in_channels lists the channels of each level that arrives, and like out_channels each is at "
                f"least 1; received in_channels={in_channels!r}, out_channels={out_channels!r}."
            )
        if not eps > 0:
            raise ConfigError(f"BiFPN: eps must be above 0, or weights that are all 0 give NaN; received {eps}.")
        if num_outs < max(2, len(in_channels)):
            raise ConfigError(
                f"BiFPN: num_outs={num_outs}, but {len(in_channels)} levels arrive (in_channels) and two are the least "
                "that can be fused; set num_outs to at least that."
            )
        if num_layers < 1:
            raise ConfigError(f"BiFPN: num_layers must be at least 1; received {num_layers}.")
        self.in_channels = tuple(in_channels)
        norm_cfg = norm_cfg or dict(type="BN", momentum=0.01, eps=1e-3)
        act_cfg = act_cfg or dict(type="SiLU", inplace=True)
        # What enters each level: the backbone's levels, then the last one again for the first level made from it.
        entering = [*self.in_channels, self.in_channels[-1]][:num_outs]
        self.entries = ModuleList(
            nn.Identity() if channels == out_channels else _projection(channels, out_channels, norm_cfg)
            for channels in entering
        )
        self.num_pooled = num_outs - len(entering)
        self.layers = ModuleList(BiFPNLayer(num_outs, out_channels, norm_cfg, act_cfg, eps) for _ in range(num_layers))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Fuse the backbone's levels.

        Args:
            features: (N, in_channels[i], H_i, W_i), finest first.

        Returns:
            ``num_outs`` tensors of (N, out_channels, H_i, W_i), finest first.

        Raises:
            ConfigError: levels or channels differ from ``in_channels``, or sizes are not halved.
        """
        check_inputs("BiFPN", features, self.in_channels)
        _check_sizes(features)
        levels = [entry(feature) for entry, feature in zip(self.entries, features, strict=False)]
        if len(self.entries) > len(features):
            levels.append(halve(self.entries[-1](features[-1])))
        for _ in range(self.num_pooled):
            levels.append(halve(levels[-1]))
        for layer in self.layers:
            levels = layer(levels)
        return tuple(levels)


def halve(feature: Tensor) -> Tensor:
    """(N, C, H, W) max-pooled to (N, C, ceil(H / 2), ceil(W / 2))."""
    return F.max_pool2d(feature, kernel_size=3, stride=2, padding=1)


def _projection(in_channels: int, out_channels: int, norm_cfg: dict) -> ConvModule:
    return ConvModule(in_channels, out_channels, 1, norm_cfg=norm_cfg, act_cfg=None)


def _check_sizes(features: Sequence[Tensor]) -> None:
    sizes = [tuple(feature.shape[-2:]) for feature in features]
    for finer, coarser in zip(sizes, sizes[1:], strict=False):
        if coarser != tuple((length + 1) // 2 for length in finer):
            raise ConfigError(
                f"BiFPN: levels of {sizes} px (height, width) arrive, but each must be half the one before, rounded "
                "up; take levels of neighbouring strides (out_indices of the backbone)."
            )
