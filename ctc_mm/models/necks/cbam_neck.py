"""Attention on the levels of a feature pyramid (paper 2.6.2)."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule, ModuleList
from torch import Tensor

from ctc_mm.errors import ConfigError
from ctc_mm.models.layers import CBAM
from ctc_mm.models.necks.levels import check_inputs, check_levels
from ctc_mm.registry import MODELS


@MODELS.register_module()
class CBAMNeck(BaseModule):
    r"""Passes chosen levels through CBAM and hands on the others untouched (paper 2.6.2; reading 7, 8).

    .. code:: none

        C1 (38) ── CBAM ── C1'        levels=(0, 1, 2, 3), the paper's "first four layers of SSD"
        C2 (19) ── CBAM ── C2'
        C3 (10) ── CBAM ── C3'
        C4 (5)  ── CBAM ── C4'
        C5 (3)  ────────── C5
        C6 (1)  ────────── C6

    In a config it follows ``SSDNeck`` in the list of necks, so L2Norm comes before it::

        neck=[dict(type='SSDNeck', ...), dict(type='ctc_mm.CBAMNeck', in_channels=(512, 1024, 512, 256, 256, 256))]

    Args:
        in_channels: channels of every level that arrives, finest first.
        levels: indices of the levels with attention, counted from 0.
        reduction: squeeze of the channel MLP.
        kernel_size: odd window of the spatial convolution, in feature cells.
        init_cfg: MMEngine's initialisation.

    Raises:
        ConfigError: a level is named that does not arrive, or named twice.
        ValueError: ``reduction`` or ``kernel_size`` out of range.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        levels: Sequence[int] = (0, 1, 2, 3),
        reduction: int = 16,
        kernel_size: int = 7,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type="Xavier", layer="Conv2d", distribution="uniform"))
        self.in_channels = tuple(in_channels)
        self.levels = check_levels("CBAMNeck", levels, len(self.in_channels))
        if len(set(self.levels)) != len(self.levels):
            raise ConfigError(f"CBAMNeck: levels={list(levels)} names a level twice.")
        self.attentions = ModuleList(CBAM(self.in_channels[i], reduction, kernel_size) for i in self.levels)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Weight the chosen levels.

        Args:
            features: one (N, C_i, H_i, W_i) tensor a level.

        Returns:
            As many tensors of the same shapes.

        Raises:
            ConfigError: levels or channels differ from ``in_channels``.
        """
        check_inputs("CBAMNeck", features, self.in_channels)
        outputs = list(features)
        for level, attention in zip(self.levels, self.attentions, strict=True):
            outputs[level] = attention(outputs[level])
        return tuple(outputs)
