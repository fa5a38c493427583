"""What stands between a convolutional network and fully connected layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from ctc_mm.registry import MODELS


@MODELS.register_module()
class PoolFlatten(BaseModule):
    """Average-pool a feature map of any size to a fixed one and flatten it.

    MMPretrain's VGG and AlexNet hold their fully connected layers in the backbone and take 224 px only. Their
    convolutions alone, this neck and ``StackedLinearClsHead`` are the same network, as torchvision builds it: at 224 px
    the pooling changes nothing, and every other size works too.

    Args:
        output_size: side of the pooled map: 7 for VGG, 6 for AlexNet.
        dropout: chance that a value is set to zero in training.
        init_cfg: as in MMEngine.
    """

    def __init__(
        self,
        output_size: int,
        dropout: float = 0.0,
        init_cfg: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.pool = nn.AdaptiveAvgPool2d(output_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """(N, C, H, W) maps to (N, C * output_size**2) vectors, channel by channel."""
        return tuple(self.dropout(self.pool(one).flatten(1)) for one in features)
