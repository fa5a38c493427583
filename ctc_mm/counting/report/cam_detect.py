"""Grad-CAM of detected cells: each in the window that owns it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import nn

from ctc_mm.counting.detect import DetectRoute
from ctc_mm.counting.detect_cells import merge_rules
from ctc_mm.counting.detect_plan import SlideFit
from ctc_mm.counting.detect_stream import prepare_window
from ctc_mm.counting.records import CountedCell, SlideCount
from ctc_mm.counting.report.cell_cam import CellCAM, same_score, share_of_top
from ctc_mm.counting.slides import open_slide
from ctc_mm.counting.windows import cut_window, region_of
from ctc_mm.evaluation.functional.boxes import pairwise_iou
from ctc_mm.explain.detection_cam import DetectionCAM, explain_detection
from ctc_mm.imaging.field import Field

LEAST_IOU = 0.9


def explain_windows(
    count: SlideCount,
    route: DetectRoute,
    model: nn.Module,
    places: Sequence[int],
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> dict[int, CellCAM]:
    """Explain cells, each by the window it was found in.

    Args:
        count: of the route.
        route: with a model that PyTorch runs.
        model: that model, or a copy that no other thread uses.
        places: of the cells in ``count.cells``.
        track: wraps the loop, for a progress bar.

    Returns:
        Place to map; cells that the model does not find again are left out.
    """
    fit = SlideFit.from_json(route.plan(count.spec).details)
    windows = fit.grid.windows_xyxy()
    least = merge_rules(route.engine.info, route.settings.doubt).least_scores().tolist()
    cams = {}
    with open_slide(count.spec, fit.target_um_per_px) as field:
        for place in track(list(places)):
            cell = count.cells[place]
            window = windows[cell.columns["window"]]
            data = _data_of(field, fit, route, window, float(count.thresholds["white_level"]))
            found = _explain(model, data, cell, _InWindow.of(cell, window, fit), least)
            if found is not None:
                region = tuple((window / fit.scale).tolist())
                cams[place] = CellCAM(share_of_top(found.fused), region)
    return cams


def _data_of(field: Field, fit: SlideFit, route: DetectRoute, window: np.ndarray, white_level: float) -> dict[str, Any]:
    """A window as the model saw it: one item of its test pipeline."""
    region = region_of(window[None], field.size_wh)
    planes = field.read(fit.channels, region)
    pixels = np.ascontiguousarray(np.moveaxis(planes, 0, -1)) if len(planes) > 1 else planes[0]
    inputs = prepare_window(route.engine, cut_window(pixels, region, window), white_level)
    geometry = route.engine.geometry
    sample = DetDataSample()
    sample.set_metainfo(
        dict(ori_shape=geometry.window_wh[::-1], img_shape=geometry.image_hw, scale_factor=geometry.scale_wh)
    )
    return {"inputs": torch.from_numpy(inputs).to(route.engine.device), "data_samples": sample}


@dataclass(frozen=True, eq=False)
class _InWindow:
    """A cell in the window that found it, in pixels of that: its box, and the slide, at whose edges boxes end."""

    box_xyxy: np.ndarray
    slide_xyxy: np.ndarray

    @classmethod
    def of(cls, cell: CountedCell, window: np.ndarray, fit: SlideFit) -> Self:
        corner = np.tile(window[:2], 2)
        return cls(np.array(cell.box_xyxy) * fit.scale - corner, np.array([0, 0, *fit.field_wh]) - corner)


def _explain(
    model: nn.Module, data: dict[str, Any], cell: CountedCell, where: _InWindow, least: list[float]
) -> DetectionCAM | None:
    """The map of one box; None where the model does not find it again."""
    best = explain_detection(model, data, score_thr=least, target="top1")
    index = _place_of(best, where, cell)
    if index is None:
        return None
    return best if index == 0 else explain_detection(model, data, score_thr=least, target=index)


def _place_of(found: DetectionCAM, where: _InWindow, cell: CountedCell) -> int | None:
    if not len(found.boxes_xyxy):
        return None
    limits = where.slide_xyxy
    boxes = np.clip(found.boxes_xyxy, np.tile(limits[:2], 2), np.tile(limits[2:], 2))
    overlaps = pairwise_iou(boxes, where.box_xyxy[None])[:, 0]
    best_first = np.argsort(-overlaps, kind="stable").tolist()
    alike = (place for place in best_first if same_score(float(found.scores[place]), cell.score))
    return next((place for place in alike if overlaps[place] >= LEAST_IOU), None)
