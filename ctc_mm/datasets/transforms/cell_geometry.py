"""How a cell lies in its image, drawn anew."""

from __future__ import annotations

import numpy as np

from ctc_mm.datasets.transforms.cell_transform import (
    CellTransform,
    Range,
    check_choice,
    check_largest,
    check_probability,
    check_range,
    draw_log_uniform,
)
from ctc_mm.imaging.augment import (
    INTERPOLATIONS,
    Interpolation,
    elastic_displacement,
    geometry_matrix,
    warp_image,
)
from ctc_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CellGeometry(CellTransform):
    """Rotate, shear, mirror, flip, shift and scale the image of a cell, each by chance, in one interpolation.

    Papers deparray-augmentation-2025 (geometric) and label-free-resnet-2020 (rotation, shear, reflections); readings
    21, 24. What comes in from outside is the image reflected at its border: no black corners that a network could learn
    from. All channels move alike, so pairs such as bright-field and DAPI stay registered.

    Required Keys:

    - img (np.uint8 or np.float32, 0-255, (H, W) or (H, W, C))

    Modified Keys:

    - img (np.float32, same shape, 0-255)
    - homography_matrix (float64 (3, 3), old to new pixel centres; elastic distortion is not part of it)

    Args:
        rotate_deg: largest angle in either direction; 180 is any angle, since a cell has no top. Here and below, 0 or
            None switches a part off, and so does a chance of 0.
        rotate_prob: chance of a rotation.
        shear_deg: largest shear angle in either direction, along x or y.
        shear_prob: chance of a shear.
        scale_range: smallest and largest size; keep it close to 1, since CTCs are told by size too.
        scale_prob: chance of scaling.
        shift_fraction: largest shift along each axis, as a fraction of the side.
        shift_prob: chance of a shift.
        flip_prob: chance of a flip, top to bottom.
        mirror_prob: chance of mirroring, left to right.
        elastic_fraction: longest displacement of an elastic distortion, as a fraction of the shorter side; off by
            default, since it changes the outline that a pathologist looks at (reading 24).
        elastic_smoothness: how far displacements go together, as a fraction of the shorter side.
        elastic_prob: chance of an elastic distortion.
        interpolation: ``'cubic'``, ``'linear'`` or ``'nearest'``.
        prob: chance that an image is changed at all.

    Raises:
        ValueError: a parameter outside its range; or (on use) pixels outside 0-255, or boxes and masks in the results,
            which it does not move.
    """

    def __init__(
        self,
        rotate_deg: float | None = 180.0,
        rotate_prob: float | None = 1.0,
        shear_deg: float | None = 10.0,
        shear_prob: float | None = 0.5,
        scale_range: Range | None = (0.9, 1.1),
        scale_prob: float | None = 0.5,
        shift_fraction: float | None = 0.05,
        shift_prob: float | None = 0.5,
        flip_prob: float | None = 0.5,
        mirror_prob: float | None = 0.5,
        elastic_fraction: float | None = None,
        elastic_smoothness: float = 0.1,
        elastic_prob: float | None = 0.5,
        interpolation: Interpolation = "cubic",
        prob: float | None = 1.0,
    ) -> None:
        super().__init__(prob)
        self.rotate_deg = check_largest("CellGeometry: rotate_deg", rotate_deg)
        self.shear_deg = check_largest("CellGeometry: shear_deg", shear_deg, below=90)
        self.scale_range = check_range("CellGeometry: scale_range", scale_range, above_zero=True)
        self.shift_fraction = check_largest("CellGeometry: shift_fraction", shift_fraction, below=1)
        self.elastic_fraction = check_largest("CellGeometry: elastic_fraction", elastic_fraction, below=1)
        self.elastic_smoothness = check_range(
            "CellGeometry: elastic_smoothness", (elastic_smoothness, elastic_smoothness), above_zero=True
        )[0]
        chances = dict(
            rotate_prob=rotate_prob,
            shear_prob=shear_prob,
            scale_prob=scale_prob,
            shift_prob=shift_prob,
            flip_prob=flip_prob,
            mirror_prob=mirror_prob,
            elastic_prob=elastic_prob,
        )
        for name, value in chances.items():
            setattr(self, name, check_probability(f"CellGeometry: {name}", value))
        self.interpolation = check_choice("CellGeometry: interpolation", interpolation, INTERPOLATIONS)

    def change(self, image: np.ndarray, rng: np.random.Generator, results: dict) -> np.ndarray:
        """Move the image and note how."""
        marked = [key for key in ("gt_bboxes", "gt_masks", "gt_seg_map") if results.get(key) is not None]
        if marked:
            raise ValueError(
                f"{results.get('img_path', 'img')}: CellGeometry moves images of single cells, not results"
                f"[{marked[0]!r}]; use ctc_mm.ShiftScaleFlip for fields with boxes"
            )
        shape_hw = image.shape[:2]
        matrix = self._draw_matrix(shape_hw, rng)
        displacement = None
        if rng.random() < self.elastic_prob and self.elastic_fraction:
            side = min(shape_hw)
            displacement = elastic_displacement(
                shape_hw, self.elastic_fraction * side, self.elastic_smoothness * side, rng
            )
        earlier = results.get("homography_matrix")
        results["homography_matrix"] = matrix if earlier is None else matrix @ earlier
        return warp_image(image, matrix, displacement, self.interpolation)

    def _draw_matrix(self, shape_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        shear_xy, shift_xy, angle, scale = (0.0, 0.0), (0.0, 0.0), 0.0, 1.0
        if rng.random() < self.shear_prob:
            along_x, lean = rng.random() < 0.5, rng.uniform(-self.shear_deg, self.shear_deg)
            shear_xy = (lean, 0.0) if along_x else (0.0, lean)
        if rng.random() < self.rotate_prob:
            angle = rng.uniform(-self.rotate_deg, self.rotate_deg)
        if rng.random() < self.scale_prob and self.scale_range:
            scale = draw_log_uniform(self.scale_range, rng)
        if rng.random() < self.shift_prob:
            shift_xy = tuple(rng.uniform(-1, 1) * self.shift_fraction * side for side in shape_hw[::-1])
        return geometry_matrix(
            shape_hw,
            mirror=bool(rng.random() < self.mirror_prob),
            flip=bool(rng.random() < self.flip_prob),
            shear_xy_deg=shear_xy,
            rotate_deg=angle,
            scale=scale,
            shift_xy_px=shift_xy,
        )
