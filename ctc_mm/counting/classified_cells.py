"""From the cells that windows found, and the classifier's probabilities, to the cells of a slide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctc_mm.counting.cell_finder import FoundCell, rows_of
from ctc_mm.counting.classify_settings import ClassifySettings
from ctc_mm.counting.crop_scores import calibrated
from ctc_mm.counting.damaged_cells import without_lost
from ctc_mm.counting.engines.base import ModelInfo
from ctc_mm.counting.foreground import LEAST_CONTRAST
from ctc_mm.counting.level_ranges import describe_levels
from ctc_mm.counting.merge import (
    OTHER_WINDOW,
    SEAM_DUPLICATE,
    TOO_LARGE,
    MergeRules,
    SlideDetections,
    merge_windows,
)
from ctc_mm.counting.records import UNIDENTIFIED, AnalysedArea, CountedCell, Drop, in_order
from ctc_mm.counting.windows import WindowGrid, unpack_windows
from ctc_mm.counting.work_pixels import WorkPixels
from ctc_mm.imaging.cell_measure import CellMeasurement, judge_cells

DOUBTFUL = "doubtful"
_DIGITS = 4


@dataclass(frozen=True)
class SlideCells(WorkPixels):
    """The pixels that cells were found in.

    Attributes: those of ``WorkPixels``, and
        um_per_px: side of a pixel as it was read.
        grid: windows there.
        margin_px: how far around a cell pixels may decide about it.
    """

    um_per_px: float
    grid: WindowGrid
    margin_px: float

    def empty_windows(self, levels: Mapping[str, Any]) -> np.ndarray:
        """Which windows the first pass took for empty, bool (N,)."""
        return unpack_windows(levels["empty_windows"], self.grid.n_windows)


@dataclass(frozen=True)
class FinishedCells:
    """What ``SlideCount`` says of them; the names are its own."""

    cells: tuple[CountedCell, ...]
    classes: tuple[str, ...]
    thresholds: Mapping[str, Any]
    area: AnalysedArea
    drops: tuple[Drop, ...]
    removals: Mapping[str, int]


def finish_cells(
    slide: SlideCells,
    levels: Mapping[str, Any],
    payloads: list[dict[str, Any]],
    info: ModelInfo,
    settings: ClassifySettings,
    threshold: float,
) -> FinishedCells:
    """Merge what windows found, flag what is no single cell, and call the rest.

    Args:
        slide: where it lies.
        levels: of the first pass.
        payloads: of all tiles: ``cells`` and ``scores``.
        info: of the model.
        settings: of the route.
        threshold: probability before calibration from which a cell is the target.
    """
    found, removals = _merge(list(rows_of(payloads)), slide.grid)
    kept, left_out = without_lost(found, lambda pair: pair[0].cell.box_xyxy, levels["losses"], slide.margin_px)
    judged = judge_cells([one.cell for one, _ in kept], settings.diameter_um)
    cells = [
        _counted(slide, one, cell, np.array(scores), info, settings, threshold)
        for (one, scores), cell in zip(kept, judged, strict=True)
    ]
    others = tuple(name for name in info.classes if name != info.target)
    doubtful_from = settings.doubt * threshold
    return FinishedCells(
        cells=in_order(cells),
        classes=(info.target, *others, UNIDENTIFIED),
        thresholds={
            "probability": threshold,
            "probability_calibrated": round(float(calibrated(np.array([threshold]), info)[0]), 6),
            "unidentified_from": doubtful_from if settings.doubt < 1 else None,
            "temperature": info.temperature,
            "focus": levels["focus"],
            "white_of_cells": levels["cells"].get("white"),
            **describe_levels({"cells": levels["cells"]}),
            "noise": levels["noise"],
            "least_contrast_of_foreground": LEAST_CONTRAST if settings.skip_background else None,
            "windows": slide.grid.n_windows,
            "windows_taken_for_empty": int(slide.empty_windows(levels).sum()),
        },
        area=slide.area(levels["losses"], empty_xyxy=slide.grid.cores_xyxy()[slide.empty_windows(levels)].tolist()),
        drops=(*slide.drops(levels["losses"]), *left_out),
        removals=removals,
    )


def _merge(
    found: list[tuple[FoundCell, list[float]]], grid: WindowGrid
) -> tuple[list[tuple[FoundCell, list[float]]], dict[str, int]]:
    """Each cell once: it belongs to the window in whose core its middle lies (``merge.merge_windows``).

    Windows see most cells alike, to the pixel: their doubles belong to the neighbour (``other_window``). What is
    removed as ``seam_duplicate`` are cells that two windows outline so differently that both own them, or neither.
    """
    boxes = np.array([one.cell.box_xyxy for one, _ in found], np.float64).reshape(-1, 4)
    owners = grid.owners_of((boxes[:, :2] + boxes[:, 2:]) / 2).tolist()
    owned = {one.cell.box_xyxy for (one, _), owner in zip(found, owners, strict=True) if owner == one.window}
    kept = [
        pair
        for pair, owner in zip(found, owners, strict=True)
        if owner == pair[0].window or pair[0].cell.box_xyxy not in owned
    ]
    detections = SlideDetections(
        boxes_xyxy=np.array([one.cell.box_xyxy for one, _ in kept]).reshape(-1, 4),
        scores=np.ones(len(kept)),
        labels=np.zeros(len(kept), np.int64),
        windows=np.array([one.window for one, _ in kept], np.int64),
    )
    # One class, all alike: nothing but the seams decides. What is wider than the overlap may be cut by every window; it
    # is left out, since none is of the target yet.
    rules = MergeRules(thresholds=(0.5, 0.5), target=1, doubt=1.0, max_cell_px=np.nextafter(grid.overlap_px, 0))
    merged = merge_windows(detections, grid, rules)
    removals = {name: merged.removals[name] for name in (TOO_LARGE, SEAM_DUPLICATE)}
    removals[OTHER_WINDOW] = merged.removals[OTHER_WINDOW] + len(found) - len(kept)
    places = {(one.window, one.cell.box_xyxy): place for place, (one, _) in enumerate(kept)}
    keys = zip(merged.found.windows.tolist(), (tuple(map(int, box)) for box in merged.found.boxes_xyxy), strict=True)
    return [kept[places[key]] for key in keys], removals


def _counted(
    slide: SlideCells,
    one: FoundCell,
    cell: CellMeasurement,
    scores: np.ndarray,
    info: ModelInfo,
    settings: ClassifySettings,
    threshold: float,
) -> CountedCell:
    raw = float(scores[info.target_label])
    score = float(calibrated(np.array([raw]), info)[0])
    class_name, flags = _call(cell, scores, info, settings.doubt * threshold, threshold)
    row, column = cell.centroid_yx
    centre_x, centre_y = slide.point(column + 0.5, row + 0.5)
    return CountedCell(
        box_xyxy=slide.box(cell.box_xyxy),
        class_name=class_name,
        score=round(score, 6),
        diameter_um=round(cell.diameter_um, _DIGITS),
        flags=tuple(sorted(flags)),
        columns={
            "window": one.window,
            # As in cells.csv: the middle of the first pixel is 0, 0.
            "centroid_x": round(centre_x - 0.5, 3),
            "centroid_y": round(centre_y - 0.5, 3),
            "probability": round(raw, 6),
            "area_um2": round(cell.area_px * slide.um_per_px**2, _DIGITS),
            "circularity": round(cell.circularity, _DIGITS),
            "solidity": round(cell.solidity, _DIGITS),
            "sharpness": round(cell.sharpness, _DIGITS),
            "contact": round(cell.contact, _DIGITS),
        },
        outlines_xy=tuple(tuple(slide.point(x, y) for x, y in outline) for outline in one.outlines_xy),
    )


def _call(
    cell: CellMeasurement, scores: np.ndarray, info: ModelInfo, doubtful_from: float, threshold: float
) -> tuple[str, tuple[str, ...]]:
    """Class and flags: of what is no single cell, whole and in focus, the model has never seen the like."""
    if cell.reasons:
        return UNIDENTIFIED, cell.reasons
    raw = scores[info.target_label]
    if raw >= threshold:
        return info.target, ()
    if raw >= doubtful_from:
        return UNIDENTIFIED, (DOUBTFUL,)
    others = np.where(np.arange(len(scores)) == info.target_label, -1.0, scores)
    return info.classes[int(np.argmax(others))], ()
