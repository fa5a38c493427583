"""Batches of cells in two channels, or in the one that is there when the model is used."""

from __future__ import annotations

from typing import Any

from mmpretrain.models import ClsDataPreprocessor
from torch import Tensor

from ctc_mm.errors import ConfigError
from ctc_mm.registry import MODELS


@MODELS.register_module()
class TwinDataPreprocessor(ClsDataPreprocessor):
    """As ``ClsDataPreprocessor``, for images of one channel (grey or RGB) and for two stacked channels.

    Every channel becomes an RGB image of its own, normalised by the same mean and spread: two channels give a batch
    (N, 2, 3, H, W), one gives (N, 3, H, W), just what the ordinary preprocessor makes of the RGB image.

    Raises:
        ConfigError: (on use) images of another number of planes.
    """

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Expand, stack and normalise a batch of (C, H, W) images."""
        inputs = data["inputs"]
        inputs = _as_rgb(inputs) if isinstance(inputs, Tensor) else [_as_rgb(image) for image in inputs]
        return super().forward({**data, "inputs": inputs}, training)


def _as_rgb(images: Tensor) -> Tensor:
    """(..., C, H, W): C = 1 and 3 to (..., 3, H, W), C = 2 to (..., 2, 3, H, W)."""
    planes = images.shape[-3]
    if planes == 3:
        return images
    if planes not in (1, 2):
        raise ConfigError(
            f"TwinDataPreprocessor takes images of one channel (1 or 3 planes) or two (2 planes). Received: {planes} "
            "planes; choose the data set's `channels`"
        )
    expanded = images.unsqueeze(-3).expand(*images.shape[:-2], 3, *images.shape[-2:])
    return expanded.squeeze(-4) if planes == 1 else expanded
