"""Cells in a bright-field image, as a label image (paper label-free-resnet-2020, image pre-processing; reading 22)."""

from __future__ import annotations

import numpy as np

from ctc_mm.imaging import cell_levels
from ctc_mm.imaging.cell_levels import CellLevels, CellSize, check_image
from ctc_mm.imaging.cell_measure import CellMeasurement, measure_cells
from ctc_mm.imaging.cells_paper import segment_paper
from ctc_mm.imaging.cells_round import halo_px, segment_round
from ctc_mm.imaging.nuclei_paper import number_by_first_pixel

__all__ = [
    "CellLevels",
    "CellLevelsPass",
    "CellMeasurement",
    "CellSize",
    "cell_halo_px",
    "cell_size",
    "measure_cell_levels",
    "measure_cells",
    "segment_cells",
]

METHODS = ("robust", "paper")
# From small lymphocytes to large CTCs (ssd-attention-fusion-2022, section 1, says 7 to 20 um); specks are smaller.
DIAMETER_UM = (6.0, 30.0)
# A x20 objective and a common camera; what is taken where the scale is not known.
USUAL_UM_PER_PX = 0.6


def cell_size(um_per_px: float | None = None, diameter_um: tuple[float, float] = DIAMETER_UM) -> CellSize:
    """Diameters of a cell in pixels.

    Args:
        um_per_px: micrometres per pixel; None takes ``USUAL_UM_PER_PX``: cells of 10 to 50 px.
        diameter_um: smallest and largest diameter.

    Raises:
        ValueError: a scale that is not positive, diameters that do not rise or are below 4 px.
    """
    scale = USUAL_UM_PER_PX if um_per_px is None else um_per_px
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"`um_per_px` must be a number above 0. Received: {um_per_px!r}")
    return CellSize(diameter_um[0] / scale, diameter_um[1] / scale)


def segment_cells(
    image: np.ndarray,
    method: str = "robust",
    *,
    um_per_px: float | None = None,
    diameter_um: tuple[float, float] = DIAMETER_UM,
    levels: CellLevels | None = None,
    origin_xy: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """Find the cells of a bright-field image, dark or bright, alone or touching.

    ``robust`` takes edges above the noise of their place and lets them vote for the centres of circles; around each
    centre the closed path of the strongest change of light is a cell's outline, so that halos stay outside and touching
    cells apart. Cells are near to round and stand out by their outline; specks below the smallest diameter are left
    out. Fainter and cut outlines follow, and clumps in which no outline of a single cell is seen, each as one object:
    ``measure_cells`` tells what speaks against them.

    Args:
        image: (H, W) grey or (H, W, 3) RGB; uint8, uint16 or float; a whole field or a tile of one.
        method: ``robust``; or ``paper``: the recipe of label-free-resnet-2020 (``segment_paper``), for comparison.
        um_per_px: micrometres per pixel; None: 0.6, a x20 objective, so cells are 10 to 50 px across.
        diameter_um: smallest and largest diameter of a cell. The paper's recipe knows neither.
        levels: levels of the whole field where ``image`` is a tile of it (``measure_cell_levels``, ``CellLevelsPass``);
            None measures those of ``image``. The paper's recipe takes none.
        origin_xy: where the tile's first pixel lies in the field, multiples of 64. A tile needs a halo of
            ``cell_halo_px``.

    Returns:
        int32 (H, W): 0 background, cells 1..N in the order of their first pixel, row by row.

    Raises:
        ValueError: not such an image, no pixel, NaN pixels, an unknown method, levels of another field or size.
        TypeError: pixels of another type.
    """
    image = np.asarray(image)
    check_image(image)
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}. Received: {method!r}")
    if method == "paper":
        if levels is not None:
            raise ValueError("the paper's method thresholds the image it is given; give it whole fields, no `levels`")
        return number_by_first_pixel(segment_paper(image))
    size = cell_size(um_per_px, diameter_um)
    if levels is None:
        levels = measure_cell_levels(image, um_per_px, diameter_um)
    else:
        _check_levels(levels, size, image.shape, origin_xy)
    return number_by_first_pixel(segment_round(image, size, levels, origin_xy))


class CellLevelsPass(cell_levels.CellLevelsPass):
    """First pass over a field in tiles of multiples of 256 px, in any order; ``result()`` gives its levels.

    Args:
        size_wh: the field's width and height in pixels.
        dtype: the pixels' type.
        um_per_px: as for ``segment_cells``.
        diameter_um: as for ``segment_cells``.
    """

    def __init__(
        self,
        size_wh: tuple[int, int],
        dtype: np.dtype | type,
        um_per_px: float | None = None,
        diameter_um: tuple[float, float] = DIAMETER_UM,
    ) -> None:
        super().__init__(size_wh, dtype, cell_size(um_per_px, diameter_um))


def measure_cell_levels(
    image: np.ndarray, um_per_px: float | None = None, diameter_um: tuple[float, float] = DIAMETER_UM
) -> CellLevels:
    """Levels of a field that is in memory; arguments and errors as those of ``segment_cells``."""
    check_image(image)
    levels = CellLevelsPass((image.shape[1], image.shape[0]), image.dtype, um_per_px, diameter_um)
    levels.add(image, (0, 0))
    return levels.result()


def cell_halo_px(um_per_px: float | None = None, diameter_um: tuple[float, float] = DIAMETER_UM) -> int:
    """Pixels around a tile that decide about its cells, a multiple of 64."""
    return halo_px(cell_size(um_per_px, diameter_um))


def _check_levels(levels: CellLevels, size: CellSize, shape: tuple[int, ...], origin_xy: tuple[int, int]) -> None:
    ends = (origin_xy[0] + shape[1], origin_xy[1] + shape[0])
    if levels.shrink != size.shrink:
        raise ValueError(
            f"`levels` were taken for cells of another size (shrink {levels.shrink}, here {size.shrink}); take them "
            "with the same `um_per_px` and `diameter_um`"
        )
    if any(start < 0 or start % cell_levels.LARGEST_SHRINK for start in origin_xy) or any(
        end > edge for end, edge in zip(ends, levels.size_wh, strict=True)
    ):
        raise ValueError(
            f"a tile must start at multiples of {cell_levels.LARGEST_SHRINK} px and lie inside the field of "
            f"{levels.size_wh} px. Received: {shape[1]} x {shape[0]} px at {origin_xy}"
        )
