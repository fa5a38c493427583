"""Convolutional block attention module: which channels matter, then where (Woo et al., ECCV 2018, section 3)."""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Weights channels by a shared MLP over their average and their maximum (Woo 2018, Eq. 2).

    Args:
        channels: channels in and out.
        reduction: the MLP's hidden layer has ``channels // reduction`` units, at least one.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the weights (N, C, 1, 1) in (0, 1) of ``x`` (N, C, H, W)."""
        average, maximum = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        return torch.sigmoid(self.mlp(average) + self.mlp(maximum))


class SpatialAttention(nn.Module):
    """Weights places by a convolution over the channels' average and maximum (Woo 2018, Eq. 3).

    Args:
        kernel_size: odd side of the convolution's window, in feature cells.
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weights (N, 1, H, W) in (0, 1) of ``x`` (N, C, H, W)."""
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return torch.sigmoid(self.conv(pooled))


class CBAM(BaseModule):
    """Channel attention, then spatial attention (paper 2.6.2; Woo 2018).

    Args:
        channels: channels in and out, at least 1.
        reduction: squeeze of the channel MLP.
        kernel_size: odd window of the spatial convolution.
        init_cfg: MMEngine's initialisation.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self, channels: int, reduction: int = 16, kernel_size: int = 7, init_cfg: dict | list | None = None
    ) -> None:
        super().__init__(init_cfg)
        if channels < 1 or reduction < 1:
            raise ValueError(f"CBAM needs channels >= 1 and reduction >= 1; received {channels=}, {reduction=}.")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"CBAM needs an odd kernel_size, so that maps keep their size; received {kernel_size}.")
        self.channel_attention = ChannelAttention(channels, reduction)
        self.spatial_attention = SpatialAttention(kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (N, C, H, W) weighted by both attentions, same shape, dtype and memory format."""
        x = x * self.channel_attention(x)
        return x * self.spatial_attention(x)
