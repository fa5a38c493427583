"""Grad-CAM of classified cells: each in its crop, cut as the route cuts it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from mmpretrain.structures import DataSample
from torch import nn

from ctc_mm.counting.cell_finder import read_image
from ctc_mm.counting.classify import ClassifyRoute
from ctc_mm.counting.records import CountedCell, SlideCount
from ctc_mm.counting.report.cell_cam import CellCAM, same_score, share_of_top
from ctc_mm.counting.slides import open_slide
from ctc_mm.explain.classifier_cam import explain_classification
from ctc_mm.imaging.field import Field, RegionXYXY

# Cells around a crop that shade its background: normalisation leaves out this much around them.
ROOM_PX = 8
# Corners of outlines are drawn to a sixteenth of a pixel.
_SHIFT = 4
_BESIDE = ((-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))


@dataclass(frozen=True)
class _Place:
    """What cutting a crop needs of a cell, in pixels of the field as it was read."""

    box_xyxy: tuple[int, int, int, int]
    centroid_yx: tuple[float, float]


def explain_crops(
    count: SlideCount,
    route: ClassifyRoute,
    model: nn.Module,
    places: Sequence[int],
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> dict[int, CellCAM]:
    """Explain the target's score of cells, each in its crop.

    What is background beside a cell is told by the outlines of the counted cells, as they are all that a count keeps of
    the segmentation.

    Args:
        count: of the route.
        route: with a model that PyTorch runs.
        model: that model, or a copy that no other thread uses.
        places: of the cells in ``count.cells``.
        track: wraps the loop, for a progress bar.

    Returns:
        Place to map; cells whose score does not come out again are left out.
    """
    details = route.plan(count.spec).details
    step_xy = np.array(count.size_wh) / np.array(details["work_wh"])
    side = route.crops.most_px(details["um_per_px"], route.settings.max_cell_um / details["um_per_px"])
    cams = {}
    with open_slide(count.spec, details["target_um_per_px"]) as field:
        for place in track(list(places)):
            found = _explain(count, route, model, field, place, details, step_xy, side)
            if found is not None:
                cams[place] = found
    return cams


def _explain(
    count: SlideCount,
    route: ClassifyRoute,
    model: nn.Module,
    field: Field,
    place: int,
    details: dict[str, Any],
    step_xy: np.ndarray,
    side: int,
) -> CellCAM | None:
    cell = count.cells[place]
    region = _region_around(cell, field.size_wh, step_xy, side)
    image = read_image(field, tuple(details["channels"]), region)
    labels = _labels(count.cells, region, step_xy)
    white = route.crops.white_level(image.dtype, float(count.thresholds["white_level"]))
    label, recorded = route.info.target_label, float(cell.columns["probability"])
    for where in _places_of(cell, step_xy):
        crop = route.crops.cut(image, labels, where, region[:2], details["um_per_px"])
        prepared = route.engine.prepare(crop, white)
        if same_score(float(route.engine(prepared[None])[0, label]), recorded):
            inputs = torch.from_numpy(prepared).to(route.engine.device)
            data = {"inputs": inputs, "data_samples": DataSample()}
            result = explain_classification(model, data, label=label)
            by_box = route.crops.margin is not None
            return CellCAM(share_of_top(result.cam), _crop_region(where, len(crop), by_box, step_xy))
    return None


def _region_around(cell: CountedCell, size_wh: tuple[int, int], step_xy: np.ndarray, side: int) -> RegionXYXY:
    x0, y0, x1, y1 = np.array(cell.box_xyxy) / np.tile(step_xy, 2)
    reach = side + ROOM_PX
    left, top = max(0, math.floor(x0) - reach), max(0, math.floor(y0) - reach)
    return left, top, min(size_wh[0], math.ceil(x1) + reach), min(size_wh[1], math.ceil(y1) + reach)


def _labels(cells: Sequence[CountedCell], region: RegionXYXY, step_xy: np.ndarray) -> np.ndarray:
    """Which pixels of a region are of any cell, int32 (h, w): 1 there, 0 elsewhere."""
    x0, y0, x1, y1 = region
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for cell in cells:
        left, top, right, bottom = np.array(cell.box_xyxy) / np.tile(step_xy, 2)
        if left < x1 and right > x0 and top < y1 and bottom > y0:
            _fill(mask, cell, step_xy, (x0, y0))
    return mask.astype(np.int32)


def _fill(mask: np.ndarray, cell: CountedCell, step_xy: np.ndarray, origin_xy: tuple[int, int]) -> None:
    # Outlines go along the edges of pixels, drawing counts from their middles.
    rings = [
        np.rint((np.array(ring) / step_xy - np.array(origin_xy) - 0.5) * 2**_SHIFT).astype(np.int32)
        for ring in cell.outlines_xy
    ]
    if rings:
        cv2.fillPoly(mask, rings, 1, cv2.LINE_8, _SHIFT)


def _places_of(cell: CountedCell, step_xy: np.ndarray) -> list[_Place]:
    """Where its crop may lie, likeliest first: the middle of an outline is that of its pixels to a pixel only."""
    first = _place_of(cell, step_xy)
    left, top, right, bottom = first.box_xyxy
    beside = [(first.centroid_yx[0] + dy, first.centroid_yx[1] + dx) for dy, dx in _BESIDE]
    inside = [(y, x) for y, x in beside if top <= y <= bottom - 1 and left <= x <= right - 1]
    return [first, *(_Place(first.box_xyxy, centre) for centre in inside)]


def _place_of(cell: CountedCell, step_xy: np.ndarray) -> _Place:
    box = tuple(round(value) for value in (np.array(cell.box_xyxy) / np.tile(step_xy, 2)).tolist())
    left, top, right, bottom = box
    mask = np.zeros((bottom - top + 2, right - left + 2), np.uint8)
    _fill(mask, cell, step_xy, (left - 1, top - 1))
    if not mask.any():
        return _Place(box, ((top + bottom - 1) / 2, (left + right - 1) / 2))
    rows, columns = np.nonzero(mask)
    return _Place(box, (float(rows.mean()) + top - 1, float(columns.mean()) + left - 1))


def _crop_region(where: _Place, side: int, by_box: bool, step_xy: np.ndarray) -> tuple[float, float, float, float]:
    """What a crop of this side shows, in pixels of the slide; as ``crop_cell`` lays it."""
    x0, y0, x1, y1 = where.box_xyxy
    centre_yx = ((y0 + y1) / 2 - 0.5, (x0 + x1) / 2 - 0.5) if by_box else where.centroid_yx
    top, left = (math.floor(centre + 1 - side / 2) for centre in centre_yx)
    region = np.array([left, top, left + side, top + side]) * np.tile(step_xy, 2)
    return tuple(region.tolist())
