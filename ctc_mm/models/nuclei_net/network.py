"""The network that finds nuclei: a small U-Net whose finest layers work at half the image's resolution."""

from __future__ import annotations

import torch
from torch import nn

# What the two output maps are, as logits.
MAPS = ("nucleus", "depth")


def conv_block(in_channels: int, out_channels: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class NucleiNet(nn.Module):
    """U-Net of four levels (Ronneberger 2015), with sums in the place of concatenations.

    The first convolution halves the resolution and the last, transposed, restores it: nuclei are at least 6 px across,
    and all the work is done on a quarter of the pixels or fewer.

    Args:
        channels: of the levels at 1/2, 1/4, 1/8 and 1/16 of the resolution.
    """

    def __init__(self, channels: tuple[int, ...] = (24, 32, 48, 64)) -> None:
        super().__init__()
        self.stem = conv_block(2, channels[0], 2, 5)
        levels = [conv_block(channels[0], channels[0])]
        for fine, coarse in zip(channels, channels[1:], strict=False):
            levels.append(nn.Sequential(conv_block(fine, coarse, 2), conv_block(coarse, coarse)))
        self.down = nn.ModuleList(levels)
        pairs = list(zip(channels, channels[1:], strict=False))
        self.up = nn.ModuleList([nn.ConvTranspose2d(coarse, fine, 2, 2) for fine, coarse in pairs])
        self.merge = nn.ModuleList([conv_block(fine, fine) for fine, _ in pairs])
        self.head = nn.ConvTranspose2d(channels[0], len(MAPS), 4, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of the two maps, (B, 2, H, W), of input (B, 2, H, W); H and W are multiples of 16."""
        x = self.stem(image)
        skips = []
        for level in self.down:
            x = level(x)
            skips.append(x)
        for i in reversed(range(len(self.up))):
            x = self.merge[i](self.up[i](x) + skips[i])
        return self.head(x)
