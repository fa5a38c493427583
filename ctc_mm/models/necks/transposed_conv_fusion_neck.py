"""Fusion of neighbouring levels by transposed convolution (paper 2.6.2, Figure 2B)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ctc_mm.errors import ConfigError
from ctc_mm.models.necks.levels import check_inputs, check_levels
from ctc_mm.registry import MODELS


class FusionBlock(BaseModule):
    """P = Conv1x1(concat(low, deconv(high))), with the channels and size of ``low``.

    Args:
        low_channels: channels of the finer level, in and out.
        high_channels: channels of the coarser level.
        deconv_channels: channels of the recovered coarser level.
        norm_cfg: normalisation after the 1x1 convolution; None for none.
        act_cfg: activation after the 1x1 convolution; None for none.
    """

    def __init__(
        self,
        low_channels: int,
        high_channels: int,
        deconv_channels: int,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(high_channels, deconv_channels, kernel_size=3, stride=2, padding=1)
        self.fuse = ConvModule(low_channels + deconv_channels, low_channels, 1, norm_cfg=norm_cfg, act_cfg=act_cfg)

    def start_from_low(self) -> None:
        """Let the block begin as the finer level itself, to which training then adds the coarser one.

        With random mixing the head would first have to unlearn; the coarser level's random weights stay, so that both
        of its layers have a gradient from the first step on.
        """
        low_channels = self.fuse.out_channels
        with torch.no_grad():
            self.fuse.conv.weight[:, :low_channels, 0, 0] = torch.eye(low_channels)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Fuse ``low`` (N, C, H, W) with ``high`` (N, D, h, w) into (N, C, H, W)."""
        return self.fuse(torch.cat([low, self._recover(high, low.shape[-2:])], dim=1))

    def _recover(self, high: Tensor, size_hw: torch.Size) -> Tensor:
        # A stride of 2 maps n cells to 2n - 1 or 2n: both are met exactly by `output_size` (10 -> 19, 19 -> 38).
        # Levels that are not twice as coarse (3 -> 1 without padding) are met by the nearest cell.
        reachable = [
            min(max(want, 2 * have - 1), 2 * have) for want, have in zip(size_hw, high.shape[-2:], strict=True)
        ]
        recovered = self.deconv(high, output_size=reachable)
        return recovered if reachable == list(size_hw) else interpolate(recovered, size=tuple(size_hw))


@MODELS.register_module()
class TransposedConvFusionNeck(BaseModule):
    r"""Gives the finer levels the meaning of the next coarser one (paper 2.6.2, 2.6.3; reading 7).

    .. code:: none

        C1 (38) ──────────┬─ concat ─ 1x1 ─ P1
        C2 (19) ─┬─ deconv┘                            levels=(0, 1, 2): the paper's first three,
                 └────────┬─ concat ─ 1x1 ─ P2         the fourth "only used as an auxiliary"
        C3 (10) ─┬─ deconv┘
                 └────────┬─ concat ─ 1x1 ─ P3
        C4 (5)  ─┬─ deconv┘
                 └───────────────────────── C4
        C5, C6  ─────────────────────────── C5, C6

    Channels and sizes out are those in, so the head does not change.

    Args:
        in_channels: channels of every level that arrives, finest first.
        levels: indices of the levels that are fused with their next coarser one.
        deconv_channels: channels of each recovered level, one number a fused level; None (the paper is silent) takes
            half of the finer level's.
        cascade: fuse with the next level's fused map instead of its input, from coarse to fine.
        norm_cfg: normalisation after the 1x1 convolution; None for none.
        act_cfg: activation after the 1x1 convolution; None for none.
        init_cfg: MMEngine's initialisation.

    Raises:
        ConfigError: a level is named that does not arrive, or the coarsest, which has no coarser one.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        levels: Sequence[int] = (0, 1, 2),
        deconv_channels: Sequence[int] | None = None,
        cascade: bool = False,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(
            init_cfg or dict(type="Xavier", layer=["Conv2d", "ConvTranspose2d"], distribution="uniform", bias=0)
        )
        self.in_channels = tuple(in_channels)
        # The coarsest level has no coarser one, hence one level less.
        self.levels = tuple(sorted(set(check_levels("TransposedConvFusionNeck", levels, len(self.in_channels) - 1))))
        self.cascade = cascade
        if deconv_channels is None:
            deconv_channels = [max(self.in_channels[i] // 2, 1) for i in self.levels]
        if len(deconv_channels) != len(self.levels):
            raise ConfigError(
                f"TransposedConvFusionNeck: deconv_channels={list(deconv_channels)} needs one number for each of the "
                f"fused levels {list(self.levels)}."
            )
        self.fusions = ModuleList(
            FusionBlock(self.in_channels[i], self.in_channels[i + 1], width, norm_cfg, act_cfg)
            for i, width in zip(self.levels, deconv_channels, strict=True)
        )

    def init_weights(self) -> None:
        """Initialise by ``init_cfg``, then let each fused level begin as its finer input."""
        super().init_weights()
        for fusion in self.fusions:
            fusion.start_from_low()

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Fuse the chosen levels.

        Args:
            features: one (N, C_i, H_i, W_i) tensor a level.

        Returns:
            As many tensors of the same shapes.

        Raises:
            ConfigError: levels or channels differ from ``in_channels``.
        """
        check_inputs("TransposedConvFusionNeck", features, self.in_channels)
        outputs = list(features)
        for level, fusion in reversed(list(zip(self.levels, self.fusions, strict=True))):
            high = outputs[level + 1] if self.cascade else features[level + 1]
            outputs[level] = fusion(features[level], high)
        return tuple(outputs)
