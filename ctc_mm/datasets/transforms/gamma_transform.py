"""Gamma on the pipeline's image."""

from __future__ import annotations

import math

from mmcv.transforms import BaseTransform

from ctc_mm.datasets.transforms.pipeline_image import require_0_to_255
from ctc_mm.imaging.normalize import gamma_transform
from ctc_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class GammaTransform(BaseTransform):
    """Raise grey values to a power (paper ssd-attention-fusion-2022, section 2.5, equation 1; gamma over 1 darkens).

    Required Keys:

    - img (np.uint8 or np.float32, 0-255)

    Modified Keys:

    - img (same dtype, 0-255)

    Added Keys:

    - gamma (float)

    Args:
        gamma: the power, above 0. The paper names none; reading 10 takes 1.5.

    Raises:
        ValueError: gamma is not above 0; or (on use) the image is not on the 0-255 scale.
    """

    def __init__(self, gamma: float = 1.5) -> None:
        if not (math.isfinite(gamma) and gamma > 0):
            raise ValueError(f"gamma must be a number above 0, received {gamma!r}")
        self.gamma = gamma

    def transform(self, results: dict) -> dict:
        """Transform the image of ``results``."""
        image = require_0_to_255(results, type(self).__name__)
        results["img"] = gamma_transform(image, self.gamma, white_level=255)
        results["gamma"] = self.gamma
        return results

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(gamma={self.gamma})"
