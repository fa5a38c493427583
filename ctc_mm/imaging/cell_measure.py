"""What is measured of each cell of a label image, and why a cell is not fit to be used on its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy import ndimage

from ctc_mm.imaging.cell_focus import FocusScale, edge_energies, measure_focus_scale, sharpness_of
from ctc_mm.imaging.cell_levels import check_image, to_grey

OVERLAP, CLUMP, OUT_OF_FOCUS, IRREGULAR, SMALL, LARGE, BORDER = (
    "overlap", "clump", "out_of_focus", "irregular", "small", "large", "border",
)  # fmt: skip
REASONS = (OVERLAP, CLUMP, OUT_OF_FOCUS, IRREGULAR, SMALL, LARGE, BORDER)

# A cell whose outline touches others along more than this part of it overlaps them.
MOST_CONTACT = 0.1
# A disc has 1; the outlines of two cells in one are far below.
LEAST_CIRCULARITY = 0.75
LEAST_SOLIDITY = 0.9
# What is not round and larger than the field's median cell by this factor is a clump: several cells, unresolved.
CLUMP_FACTOR = 1.5
# Sharpness over the median of the field's cells; and how many cells it takes to speak of a median.
LEAST_SHARPNESS = 0.6
FEWEST_FOR_FOCUS = 5
# Length of a digital outline from its steps: Vossepoel and Smeulders 1982.
_STRAIGHT, _DIAGONAL, _CORNER = 0.980, 1.406, -0.091


@dataclass(frozen=True)
class CellMeasurement:
    """One cell.

    Attributes:
        label: its number in the label image.
        box_xyxy: tight half-open box in pixels.
        centroid_yx: mean of its pixels' places; the middle of the first pixel is 0, 0.
        area_px: number of pixels.
        diameter_px: diameter of a disc of that area.
        diameter_um: the same in micrometres; None where the scale is not known.
        circularity: 4 pi area / perimeter^2, at most 1.
        solidity: area over that of its convex hull, in pixels, at most 1.
        contact: part of its outline that touches other cells.
        sharpness: fine edges over coarse ones inside the cell and along its outline: falls as focus is lost.
        touches_border: whether it reaches the image's edge.
        reasons: why it is not fit to be used on its own, of ``REASONS``; empty for a good cell.
    """

    label: int
    box_xyxy: tuple[int, int, int, int]
    centroid_yx: tuple[float, float]
    area_px: int
    diameter_px: float
    diameter_um: float | None
    circularity: float
    solidity: float
    contact: float
    sharpness: float
    touches_border: bool
    reasons: tuple[str, ...] = ()

    @property
    def is_single(self) -> bool:
        """Whether nothing speaks against using the cell on its own."""
        return not self.reasons


def measure_cells(
    labels: np.ndarray,
    image: np.ndarray,
    um_per_px: float | None = None,
    diameter_um: tuple[float, float] | None = None,
) -> list[CellMeasurement]:
    """Measure each cell, and flag clumps and those that overlap, are out of focus, irregular, of another size, or cut.

    Nothing is left out: the paper (label-free-resnet-2020, image pre-processing) had a person select the single cells;
    here each cell carries the reasons against it.

    Args:
        labels: integer (H, W) label image, 0 background.
        image: the bright-field image, (H, W) or (H, W, 3); a whole field, since focus is judged among its cells.
        um_per_px: micrometres per pixel, where known.
        diameter_um: smallest and largest diameter of a good cell; it needs ``um_per_px``. None: any.

    Returns:
        One measurement a label, in the order of labels.

    Raises:
        ValueError: labels and image of different size, negative labels, NaN pixels, a scale that is not positive, or
            missing for ``diameter_um``.
        TypeError: labels that are no integers, pixels of another type.
    """
    labels, image = np.asarray(labels), np.asarray(image)
    _check(labels, image, um_per_px, diameter_um)
    scale = measure_focus_scale([(labels, image)])
    return [] if scale is None else judge_cells(measure_tile_cells(labels, image, scale, um_per_px), diameter_um)


def measure_tile_cells(
    labels: np.ndarray,
    image: np.ndarray,
    scale: FocusScale,
    um_per_px: float | None = None,
    origin_xy: tuple[int, int] = (0, 0),
    field_wh: tuple[int, int] | None = None,
) -> list[CellMeasurement]:
    """Measure each cell of a tile of a field; what needs all cells of the field is left to ``judge_cells``.

    Args:
        labels: integer (H, W) label image of the tile, 0 background.
        image: its pixels.
        scale: of the field.
        um_per_px: micrometres per pixel, where known.
        origin_xy: where the tile lies in the field, whose pixels boxes and centroids are given in.
        field_wh: width and height of the field; None: the tile is the field.
    """
    places = ndimage.find_objects(labels.astype(np.int32, copy=False))
    found = [(index + 1, place) for index, place in enumerate(places) if place is not None]
    if not found:
        return []
    contacts = _contacts(labels)
    energies = edge_energies(to_grey(image), scale.usual_px)
    for energy, noise in zip(energies, scale.noise, strict=True):
        energy -= np.float32(noise)
    cells = []
    for label, place in found:
        sharpness = sharpness_of(labels, label, place, energies)
        cell = _measure(labels, label, place, um_per_px, float(contacts[label]), sharpness)
        cells.append(_moved(cell, origin_xy, field_wh or labels.shape[::-1]))
    return cells


def judge_cells(
    cells: Sequence[CellMeasurement], diameter_um: tuple[float, float] | None = None
) -> list[CellMeasurement]:
    """Give each cell the reasons against it, once all cells of the field are measured.

    Args:
        cells: all cells of a field.
        diameter_um: smallest and largest diameter of a good cell, where they were measured with a scale; None: any.
    """
    if not cells:
        return []
    middle = float(np.median([cell.sharpness for cell in cells])) if len(cells) >= FEWEST_FOR_FOCUS else 0.0
    usual_area_px = float(np.median([cell.area_px for cell in cells]))
    return [_with_reasons(cell, middle, usual_area_px, diameter_um) for cell in cells]


def _moved(cell: CellMeasurement, origin_xy: tuple[int, int], field_wh: tuple[int, int]) -> CellMeasurement:
    """A cell of a tile in pixels of its field."""
    (x, y), (x0, y0, x1, y1), (row, column) = origin_xy, cell.box_xyxy, cell.centroid_yx
    box = (x0 + x, y0 + y, x1 + x, y1 + y)
    return replace(
        cell,
        box_xyxy=box,
        centroid_yx=(row + y, column + x),
        touches_border=min(box[:2]) == 0 or box[2] == field_wh[0] or box[3] == field_wh[1],
    )


def _check(
    labels: np.ndarray, image: np.ndarray, um_per_px: float | None, diameter_um: tuple[float, float] | None
) -> None:
    check_image(image)
    if labels.dtype.kind not in "ui":
        raise TypeError(f"`labels` must be integers. Received: {labels.dtype}")
    if labels.shape != image.shape[:2]:
        raise ValueError(f"`labels` must be of the image's size {image.shape[:2]}. Received: {labels.shape}")
    if labels.size and labels.min() < 0:
        raise ValueError(f"`labels` must be at least 0. Received: {labels.min()}")
    if um_per_px is not None and not (math.isfinite(um_per_px) and um_per_px > 0):
        raise ValueError(f"`um_per_px` must be a number above 0. Received: {um_per_px!r}")
    if diameter_um is not None and um_per_px is None:
        raise ValueError("`diameter_um` needs `um_per_px`, the size of a pixel")


def _measure(
    labels: np.ndarray,
    label: int,
    place: tuple[slice, slice],
    um_per_px: float | None,
    contact: float,
    sharpness: float,
) -> CellMeasurement:
    rows, columns = place
    mask = labels[place] == label
    y, x = np.nonzero(mask)
    area = len(y)
    diameter_px = 2 * math.sqrt(area / math.pi)
    perimeter, hull_area = _perimeter_and_hull(mask)
    return CellMeasurement(
        label=label,
        box_xyxy=(columns.start, rows.start, columns.stop, rows.stop),
        centroid_yx=(float(y.mean() + rows.start), float(x.mean() + columns.start)),
        area_px=area,
        diameter_px=diameter_px,
        diameter_um=None if um_per_px is None else diameter_px * um_per_px,
        circularity=min(1.0, 4 * math.pi * area / perimeter**2),
        solidity=min(1.0, area / hull_area),
        contact=contact,
        sharpness=sharpness,
        touches_border=False,
    )


def _with_reasons(
    cell: CellMeasurement,
    median_sharpness: float,
    median_area_px: float,
    diameter_um: tuple[float, float] | None,
) -> CellMeasurement:
    low, high = diameter_um or (0.0, math.inf)
    diameter = cell.diameter_um if cell.diameter_um is not None else low
    dented = cell.solidity < LEAST_SOLIDITY
    # What the edge cuts is not round for that reason alone.
    irregular = not cell.touches_border and (cell.circularity < LEAST_CIRCULARITY or dented)
    speaks = {
        OVERLAP: cell.contact > MOST_CONTACT,
        CLUMP: (irregular or dented) and cell.area_px > CLUMP_FACTOR * median_area_px,
        OUT_OF_FOCUS: cell.sharpness < LEAST_SHARPNESS * median_sharpness,
        IRREGULAR: irregular,
        SMALL: diameter < low,
        LARGE: diameter > high,
        BORDER: cell.touches_border,
    }
    reasons = tuple(reason for reason in REASONS if speaks[reason])
    return replace(cell, reasons=reasons)


def _perimeter_and_hull(mask: np.ndarray) -> tuple[float, float]:
    """Length of the outer outlines of a mask, and how many pixels its convex hull has."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    perimeter = 0.0
    for contour in contours:
        steps = np.diff(contour[:, 0], axis=0, append=contour[:1, 0]) if len(contour) > 1 else np.zeros((0, 2))
        diagonal = np.abs(steps).sum(axis=1) == 2
        corners = (steps != np.roll(steps, 1, axis=0)).any(axis=1).sum()
        chain = _STRAIGHT * (~diagonal).sum() + _DIAGONAL * diagonal.sum() + _CORNER * corners
        # The chain runs through the middles of the outer pixels: half a pixel inside.
        perimeter += float(chain) + math.pi
    hull = cv2.convexHull(np.concatenate(contours))[:, 0].astype(np.int64)
    edges = np.abs(np.roll(hull, -1, axis=0) - hull)
    on_edge = int(np.gcd(edges[:, 0], edges[:, 1]).sum())
    # Pick's theorem: how many pixels' middles lie in the hull, so that a digital disc fills its own.
    return perimeter, cv2.contourArea(hull.astype(np.int32)) + on_edge / 2 + 1


def _contacts(labels: np.ndarray) -> np.ndarray:
    """For each label the part of its outline that borders on other labels, float64 (largest label + 1,)."""
    count = int(labels.max()) + 1
    outline, shared = np.zeros(count), np.zeros(count)
    for first, second in (
        (labels[:, :-1], labels[:, 1:]),
        (labels[:-1], labels[1:]),
        (labels[:-1, :-1], labels[1:, 1:]),
        (labels[:-1, 1:], labels[1:, :-1]),
    ):
        differ = first != second
        for one, other in ((first[differ], second[differ]), (second[differ], first[differ])):
            outline += np.bincount(one, minlength=count)
            shared += np.bincount(one[other > 0], minlength=count)
    return shared / np.maximum(outline, 1)
