"""Min-max stretch of the pipeline's image."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform

from ctc_mm.datasets.transforms.pipeline_image import require_0_to_255
from ctc_mm.imaging.normalize import stretch_histogram
from ctc_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class HistogramStretch(BaseTransform):
    """Spread grey values over a range (paper ssd-attention-fusion-2022, section 2.5, equation 2, min-max).

    The darkest and brightest pixel of this image decide: use it on whole fields, before cropping.

    Required Keys:

    - img (np.uint8 or np.float32, 0-255)

    Modified Keys:

    - img (np.float32)

    Args:
        out_range: lower and upper bound within 0-255; a constant image becomes the lower bound.

    Raises:
        ValueError: ``out_range`` is not two rising numbers within 0-255; or (on use) the image is not on that scale.
    """

    def __init__(self, out_range: tuple[float, float] = (0, 255)) -> None:
        bounds = tuple(float(bound) for bound in out_range)
        if len(bounds) != 2 or not (np.isfinite(bounds).all() and 0 <= bounds[0] < bounds[1] <= 255):
            raise ValueError(f"out_range must be two rising numbers within 0-255, received {out_range!r}")
        self.out_range = bounds

    def transform(self, results: dict) -> dict:
        """Transform the image of ``results``."""
        results["img"] = stretch_histogram(require_0_to_255(results, type(self).__name__), self.out_range)
        return results

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(out_range={self.out_range})"
