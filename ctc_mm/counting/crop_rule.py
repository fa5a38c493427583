"""How cells are cut for a classifier: as its training set was (formats/brightfield_cells.py, formats/coco_cells.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctc_mm.counting.classify_settings import BY_BORDER, BY_CELLS, NOT, ClassifySettings
from ctc_mm.counting.engines.base import ModelInfo
from ctc_mm.datasets.crop_memory import CROP_KEY
from ctc_mm.errors import ConfigError
from ctc_mm.imaging.cell_crops import crop_cell, crop_size_px, normalize_crop
from ctc_mm.imaging.cell_measure import CellMeasurement

UNKNOWN_NORMALIZATION = (
    "the weights do not say whether crops were normalised in training; they are taken as they are (crop_normalize)"
)


@dataclass(frozen=True)
class CropRule:
    """Size and normalisation of crops.

    Attributes:
        px: side in pixels; um: in micrometres; margin: the longer side of a cell's box and this part of it on either
            side. One of them is given.
        normalize: ``cells``, ``border`` or ``no``.
        notes: what a reader of the count should know.
    """

    px: int | None
    um: float | None
    margin: float | None
    normalize: str
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: ClassifySettings, info: ModelInfo) -> CropRule:
        """Take what the user says, or what the model remembers of its training set.

        Raises:
            ConfigError: neither says how large crops are.
        """
        known: Mapping[str, Any] = info.trained_on.get(CROP_KEY) or {}
        said = {"px": settings.crop_px, "um": settings.crop_um, "margin": settings.crop_margin}
        if all(value is None for value in said.values()):
            said = {name: known.get(name) for name in said}
        if all(value is None for value in said.values()) and info.window_wh is not None:
            said["px"] = max(info.window_wh)
        if all(value is None for value in said.values()):
            raise ConfigError(
                f"{info.name}: the weights do not say how large the crops were that they were trained on; give it "
                "(--settings crop_px=30, or crop_um=18; crop_margin=0.1 for boxes as coco_to_cells cuts them)"
            )
        normalize = settings.crop_normalize or known.get("normalized")
        return cls(**said, normalize=normalize or NOT, notes=() if normalize else (UNKNOWN_NORMALIZATION,))

    def most_px(self, um_per_px: float, largest_cell_px: float) -> int:
        """Side of the largest crop."""
        if self.px is not None:
            return self.px
        if self.um is not None:
            return crop_size_px(self.um, um_per_px)
        return round(largest_cell_px * (1 + 2 * self.margin))

    def cut(
        self,
        image: np.ndarray,
        labels: np.ndarray,
        cell: CellMeasurement,
        origin_xy: tuple[int, int],
        um_per_px: float,
    ) -> np.ndarray:
        """Cut a cell out of a part of a slide.

        Args:
            image: (H, W) or (H, W, C).
            labels: (H, W), the cells in it.
            cell: in pixels of the slide.
            origin_xy: where the part lies in the slide.
            um_per_px: side of a pixel.

        Returns:
            (size, size) or (size, size, C) in the image's dtype; normalised ones span its whole range.
        """
        x0, y0, x1, y1 = cell.box_xyxy
        centre_yx = cell.centroid_yx
        if self.margin is not None:
            side = max(1, round(max(x1 - x0, y1 - y0) * (1 + 2 * self.margin)))
            centre_yx = ((y0 + y1) / 2 - 0.5, (x0 + x1) / 2 - 0.5)
        else:
            side = self.most_px(um_per_px, 0)
        crop = crop_cell(image, (centre_yx[0] - origin_xy[1], centre_yx[1] - origin_xy[0]), side)
        if self.normalize == NOT:
            return crop.pixels
        return normalize_crop(crop, labels if self.normalize == BY_CELLS else None)

    def white_level(self, dtype: np.dtype, level: float) -> float:
        """Pixel value that is white in a crop of a slide with the white level ``level``."""
        if self.normalize not in (BY_CELLS, BY_BORDER):
            return level
        return 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"px": self.px, "um": self.um, "margin": self.margin, "normalize": self.normalize}
