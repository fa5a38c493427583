"""The small CNN of the imFISH paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from ctc_mm.registry import MODELS


@MODELS.register_module()
class ImFISHCNN(BaseModule):
    """Three hidden layers of 5x5 convolution, ReLU and pooling, trained from scratch only.

    imfish-cnn-2022, "CNN": the first hidden layer has 32 kernels of 5x5; those of the second and third are not given
    and read as 64 and 128 (reading 17). Each layer halves the image.

    Args:
        in_channels: planes of the image.
        channels: kernels of each hidden layer.
        kernel_size: side of the kernels, odd, so that the image keeps its size before pooling.
        norm_cfg: normalisation behind each convolution; the paper has none.
        init_cfg: as in MMEngine.

    Raises:
        ValueError: no layer, or an even kernel.
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: Sequence[int] = (32, 64, 128),
        kernel_size: int = 5,
        norm_cfg: Mapping[str, Any] | None = None,
        init_cfg: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type="Kaiming", layer="Conv2d"))
        if not channels or kernel_size % 2 == 0:
            raise ValueError(
                "ImFISHCNN: `channels` names at least one layer and `kernel_size` is odd. "
                f"Received: channels={channels}, kernel_size={kernel_size}"
            )
        layers = []
        for channels_out in channels:
            conv = ConvModule(in_channels, channels_out, kernel_size, padding=kernel_size // 2, norm_cfg=norm_cfg)
            layers.append(nn.Sequential(conv, nn.MaxPool2d(2)))
            in_channels = channels_out
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The feature map of the last layer, (N, channels[-1], H // 8, W // 8), alone in a tuple."""
        return (self.layers(x),)
