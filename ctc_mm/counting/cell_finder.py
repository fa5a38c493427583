"""Finding the cells of a slide window by window: in bright field by their outlines, elsewhere by their nuclei.

A window's cells depend on its pixels and the slide's levels alone. Windows lie on a grid from the slide's origin and
overlap by more than decides about a cell, so the cells of a slide are the same however windows are grouped into tiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ctc_mm.counting.merge import GUEST_SHARE
from ctc_mm.counting.prefetch import prefetch
from ctc_mm.counting.windows import WindowGrid
from ctc_mm.imaging.cell_focus import FocusScale, measure_focus_scale
from ctc_mm.imaging.cell_measure import CellMeasurement, measure_tile_cells
from ctc_mm.imaging.cells import CellLevels, CellLevelsPass, cell_halo_px, segment_cells
from ctc_mm.imaging.field import Field, RegionXYXY
from ctc_mm.imaging.mask_outlines import outline_polygons
from ctc_mm.imaging.nuclei import NUCLEUS_HALO_PX, NucleusLevels, NucleusLevelsPass, segment_nuclei
from ctc_mm.imfish.first_pass import tiles_of

BLOCK_PX = 256
LEVELS_TILE_PX = 2048
# Windows move on by so many of the largest cell: larger ones need more memory, smaller ones look at more twice.
STRIDE_CELLS = 24
# Windows in which the usual size and sharpness of cells is looked for, and their side in largest cells.
SAMPLES_PER_AXIS, SAMPLE_CELLS = 3, 8
OUTLINE_TOLERANCE_PX = 0.75


@dataclass(frozen=True)
class FoundCell:
    """A cell that a window found.

    Attributes:
        window: number of the window.
        cell: its measurement, in pixels of the slide as it was read.
        outlines_xy: along the edges of its pixels.
    """

    window: int
    cell: CellMeasurement
    outlines_xy: tuple[tuple[tuple[float, float], ...], ...]

    def to_row(self) -> list[Any]:
        """Plain values for JSON."""
        values = [getattr(self.cell, one.name) for one in fields(CellMeasurement)]
        return [self.window, values, self.outlines_xy]

    @classmethod
    def from_row(cls, row: list[Any]) -> FoundCell:
        """Take back what ``to_row`` gave."""
        window, values, outlines = row
        cell = CellMeasurement(*(tuple(value) if isinstance(value, list | tuple) else value for value in values))
        return cls(window, cell, tuple(tuple(map(tuple, outline)) for outline in outlines))


@dataclass(frozen=True)
class CellFinder:
    """How cells are looked for.

    Attributes:
        bright_field: outlines in bright field; else nuclei, bright on dark.
        um_per_px: side of a pixel.
        diameter_um: smallest and largest cell.
        crop_px: side of the largest crop that will be cut around a cell.
    """

    bright_field: bool
    um_per_px: float
    diameter_um: tuple[float, float]
    crop_px: int

    @property
    def most_px(self) -> float:
        """Diameter of the largest cell."""
        return self.diameter_um[1] / self.um_per_px

    @property
    def halo_px(self) -> int:
        """Pixels around the place of a cell that decide about it, a multiple of 64."""
        found = cell_halo_px(self.um_per_px, self.diameter_um) if self.bright_field else NUCLEUS_HALO_PX
        # A guest's crop has to lie in its window too, and no cell may be wider than the overlap.
        needed = max(found, self.crop_px, self.most_px)
        return 64 * math.ceil(needed / 64)

    def grid(self, size_wh: tuple[int, int]) -> WindowGrid:
        """Windows of a slide."""
        stride = BLOCK_PX * math.ceil(max(STRIDE_CELLS * self.most_px, 4 * self.halo_px) / BLOCK_PX)
        overlap = 2 * self.halo_px
        return WindowGrid(size_wh, (stride + overlap,) * 2, overlap)

    def measure_levels(self, field: Field, channels: tuple[str, ...], threads: int) -> dict[str, Any]:
        """Levels of a slide, read once in parts, and what its cells are measured by; JSON values."""
        dtype, size = field.dtype, field.size_wh
        found = (
            CellLevelsPass(size, dtype, self.um_per_px, self.diameter_um)
            if self.bright_field
            else NucleusLevelsPass(size, dtype)
        )
        parts = tiles_of(size, LEVELS_TILE_PX)
        for region, image in prefetch(lambda part: read_image(field, channels, part), parts, threads):
            found.add(image, region[:2])
        levels = found.result().to_dict()
        samples = prefetch(lambda part: self._sample(field, channels, part, levels), self._samples(size), threads)
        scale = measure_focus_scale([sample for _, sample in samples])
        return {"cells": levels, "focus": None if scale is None else scale.to_dict()}

    def segment(self, image: np.ndarray, levels: Mapping[str, Any], origin_xy: tuple[int, int]) -> np.ndarray:
        """Cells of a part of a slide as labels.

        Args:
            image: (H, W) or, in bright field, (H, W, 3).
            levels: of the slide.
            origin_xy: where the part lies, multiples of 64.
        """
        if self.bright_field:
            return segment_cells(
                image,
                um_per_px=self.um_per_px,
                diameter_um=self.diameter_um,
                levels=CellLevels.from_dict(levels),
                origin_xy=origin_xy,
            )
        return segment_nuclei(image, levels=NucleusLevels.from_dict(levels), origin_xy=origin_xy)

    def cells_of_window(
        self, image: np.ndarray, levels: Mapping[str, Any], grid: WindowGrid, window: int
    ) -> tuple[list[FoundCell], np.ndarray]:
        """Cells whose middle lies in the window's core, or so little outside that the neighbour may miss them.

        Args:
            image: the window's pixels, cut at the slide's edges.
            levels: of ``measure_levels``.
            grid: of the slide.
            window: number of the window.

        Returns:
            The cells, and the labels of all that lies in the window.
        """
        origin_xy = tuple(int(value) for value in grid.windows_xyxy()[window, :2])
        labels = self.segment(image, levels["cells"], origin_xy)
        # Where the samples held no cell, sharpness is taken at a usual size, and above no noise.
        usual = FocusScale(math.sqrt(self.diameter_um[0] * self.diameter_um[1]) / self.um_per_px, (0.0, 0.0))
        scale = usual if levels["focus"] is None else FocusScale.from_dict(levels["focus"])
        cells = measure_tile_cells(labels, image, scale, self.um_per_px, origin_xy, grid.size_wh)
        if not cells:
            return [], labels
        boxes = np.array([cell.box_xyxy for cell in cells], np.float64)
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        outside = grid.outside_core_px(middles, np.full(len(cells), window))
        near = outside <= GUEST_SHARE * grid.overlap_px
        found = [cell for cell, is_near in zip(cells, near, strict=True) if is_near]
        return [FoundCell(window, cell, _outlines(labels, cell, origin_xy)) for cell in found], labels

    def _samples(self, size_wh: tuple[int, int]) -> list[RegionXYXY]:
        """Squares spread over a slide; all of a small one."""
        side = BLOCK_PX * math.ceil(SAMPLE_CELLS * self.most_px / BLOCK_PX)
        starts = []
        for length in size_wh:
            last = max(length // side - 1, 0)
            starts.append(sorted({round(part * last) * side for part in np.linspace(0, 1, SAMPLES_PER_AXIS)}))
        return [(x, y, min(x + side, size_wh[0]), min(y + side, size_wh[1])) for y in starts[1] for x in starts[0]]

    def _sample(
        self, field: Field, channels: tuple[str, ...], region: RegionXYXY, levels: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        image = read_image(field, channels, region)
        return self.segment(image, levels, region[:2]), image


def read_image(field: Field, channels: tuple[str, ...], region: RegionXYXY) -> np.ndarray:
    """Read a region as (H, W), or (H, W, C) of several channels."""
    planes = field.read(channels, region)
    return planes[0] if len(planes) == 1 else np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def rows_of(payloads: list[dict[str, Any]]) -> Iterator[tuple[FoundCell, list[float]]]:
    """Cells and probabilities of the tiles of a slide."""
    for payload in payloads:
        for row, scores in zip(payload["cells"], payload["scores"], strict=True):
            yield FoundCell.from_row(row), scores


def _outlines(
    labels: np.ndarray, cell: CellMeasurement, origin_xy: tuple[int, int]
) -> tuple[tuple[tuple[float, float], ...], ...]:
    x0, y0, x1, y1 = cell.box_xyxy
    x, y = origin_xy
    mask = labels[y0 - y : y1 - y, x0 - x : x1 - x] == cell.label
    polygons = outline_polygons(mask, (x0, y0), OUTLINE_TOLERANCE_PX)
    return tuple(tuple((px, py) for px, py in polygon) for polygon in polygons)
