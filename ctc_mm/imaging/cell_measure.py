"""What is measured of each cell of a label image, and why a cell is not fit to be used on its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

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
# Smoothing of the two scales whose edges are compared, over the usual diameter of the field's cells.
_FINE, _COARSE = 1 / 16, 1 / 5
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
    places = ndimage.find_objects(labels.astype(np.int32, copy=False))
    found = [(index + 1, place) for index, place in enumerate(places) if place is not None]
    if not found:
        return []
    contacts = _contacts(labels)
    areas = np.bincount(labels.ravel())[1:]
    usual_area_px = float(np.median(areas[areas > 0]))
    usual_px = 2 * math.sqrt(usual_area_px / math.pi)
    scales = _edge_energies(to_grey(image), labels, usual_px)
    sharpness = {label: _sharpness(labels, label, place, scales) for label, place in found}
    middle = float(np.median(list(sharpness.values()))) if len(found) >= FEWEST_FOR_FOCUS else 0.0
    cells = []
    for label, place in found:
        cell = _measure(labels, label, place, um_per_px, contacts[label], sharpness[label])
        cells.append(_with_reasons(cell, middle, usual_area_px, diameter_um))
    return cells


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
    height, width = labels.shape
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
        touches_border=rows.start == 0 or columns.start == 0 or rows.stop == height or columns.stop == width,
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
    return CellMeasurement(**{**vars(cell), "reasons": reasons})


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


def _edge_energies(grey: np.ndarray, labels: np.ndarray, diameter_px: float) -> list[np.ndarray]:
    """Squared edge strength above that of noise at a fine and a coarse scale, float32 (H, W) each."""
    energies = []
    for part in (_FINE, _COARSE):
        sigma = max(1.0 if part == _FINE else 2.0, part * diameter_px)
        smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), sigma)
        energy = sum(cv2.Sobel(smooth, cv2.CV_32F, dx, dy, scale=1 / 8) ** 2 for dx, dy in ((1, 0), (0, 1)))
        background = energy[labels == 0]
        energies.append(energy - np.float32(np.median(background) / math.log(2) if background.size else 0))
    return energies


def _sharpness(labels: np.ndarray, label: int, place: tuple[slice, slice], scales: list[np.ndarray]) -> float:
    """Ratio of fine to coarse edge strength on a cell and one pixel around; 0 where there are no coarse edges."""
    rows, columns = (slice(max(0, part.start - 1), part.stop + 1) for part in place)
    mask = cv2.dilate((labels[rows, columns] == label).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    fine, coarse = (float(scale[rows, columns][mask].mean()) for scale in scales)
    return math.sqrt(max(fine, 0.0) / coarse) if coarse > 0 else 0.0
