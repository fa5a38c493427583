"""From what a detector found in all windows of a slide to its count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ctc_mm.counting.detect_plan import SlideFit
from ctc_mm.counting.detect_settings import DetectSettings
from ctc_mm.counting.detect_stream import payloads_of
from ctc_mm.counting.engines.base import ModelInfo
from ctc_mm.counting.foreground import LEAST_CONTRAST
from ctc_mm.counting.merge import TOO_LARGE, MergedCells, MergeRules, SlideDetections, merge_windows
from ctc_mm.counting.overview import colour_notes
from ctc_mm.counting.records import UNIDENTIFIED, CountedCell, Drop, SlideCount, in_order
from ctc_mm.counting.route import FirstPass, JsonDict, SlidePlan, TileResult
from ctc_mm.counting.slides import MOST_REGIONS
from ctc_mm.counting.windows import touching, unpack_windows
from ctc_mm.counting.work_pixels import WorkPixels
from ctc_mm.imaging.rectangles import covered_px

NAME = "detect"
BORDER, SEAM, DISPUTED, DOUBTFUL = "border", "seam", "disputed", "below_threshold"
DAMAGED_WINDOW = "window that shows a part of the slide that cannot be read (that part included)"


def merge_rules(
    info: ModelInfo, doubt: float, max_cell_px: float = math.inf, dropped: Sequence[int] = ()
) -> MergeRules:
    """The rules of merging for a model."""
    thresholds = tuple(float(info.thresholds[name]) for name in info.classes)
    return MergeRules(thresholds, info.target_label, doubt, max_cell_px, frozenset(dropped))


def count_of(
    plan: SlidePlan,
    first: FirstPass,
    results: Sequence[TileResult],
    settings: DetectSettings,
    model: JsonDict,
    info: ModelInfo,
) -> SlideCount:
    """Merge a slide's tiles into its count.

    Args:
        plan: of the slide.
        first: of the slide.
        results: of all its tiles.
        settings: of the route.
        model: of the route, for the count card.
        info: of the model.
    """
    fit, losses = SlideFit.from_json(plan.details), first.levels["losses"]
    dropped = np.flatnonzero(touching(fit.grid.windows_xyxy(), losses["damaged_xyxy"]))
    merged = merge_windows(
        SlideDetections(**payloads_of(results)),
        fit.grid,
        merge_rules(info, settings.doubt, fit.max_cell_px, dropped.tolist()),
    )
    n_full = sum(len(one.payload["full_windows"]) for one in results)
    pixels = WorkPixels(plan.size_wh, fit.field_wh)
    cores = fit.grid.cores_xyxy()
    # Damage costs the cores of all windows that show it, since scores hang on whole windows.
    lost, empty = cores[dropped].tolist(), cores[_empty_windows(fit, first)].tolist()
    return SlideCount(
        spec=plan.spec,
        size_wh=plan.size_wh,
        um_per_px=fit.um_per_px,
        um_per_px_source=fit.um_per_px_source,
        channels=fit.channels,
        route=NAME,
        definition=_definition(info, settings.doubt),
        target=info.target,
        classes=(info.target, *(name for name in info.classes if name != info.target), UNIDENTIFIED),
        cells=in_order(_cells(merged, pixels, fit, info)),
        thresholds=_thresholds(fit, first, info, settings) | {"windows_at_max_per_img": n_full},
        settings=settings.identity(),
        model=model,
        area=pixels.area(losses, lost, empty),
        drops=(*pixels.drops(losses), *_dropped_windows(lost, pixels)),
        removals=dict(merged.removals),
        overview=first.overview,
        notes=(*fit.notes, *colour_notes(fit.channels, info.channel, first.overview), *_limit_notes(n_full, info)),
    )


def _cells(merged: MergedCells, pixels: WorkPixels, fit: SlideFit, info: ModelInfo) -> list[CountedCell]:
    width, height = pixels.size_wh
    cells = []
    for place, box in enumerate(merged.found.boxes_xyxy.tolist()):
        label = int(merged.found.labels[place])
        x0, y0, x1, y1 = pixels.box(box)
        marks = {
            BORDER: x0 <= 0 or y0 <= 0 or x1 >= width or y1 >= height,
            SEAM: bool(merged.is_guest[place]),
            DISPUTED: bool(merged.is_disputed[place]),
            DOUBTFUL: bool(merged.is_doubtful[place]),
            TOO_LARGE: bool(merged.is_too_large[place]),
        }
        scores = merged.class_scores[place].tolist()
        columns: dict[str, Any] = {"window": int(merged.found.windows[place])}
        for name, score in zip(info.classes, scores, strict=True):
            columns[f"score_{name}"] = None if math.isnan(score) else score
        diameter_px = math.sqrt((x1 - x0) * (y1 - y0))
        cells.append(
            CountedCell(
                box_xyxy=(x0, y0, x1, y1),
                class_name=UNIDENTIFIED if marks[DOUBTFUL] or marks[TOO_LARGE] else info.classes[label],
                score=float(merged.found.scores[place]),
                diameter_um=None if fit.um_per_px is None else diameter_px * fit.um_per_px,
                flags=tuple(sorted(name for name, is_so in marks.items() if is_so)),
                columns=columns,
            )
        )
    return cells


def _definition(info: ModelInfo, doubt: float) -> str:
    threshold = info.thresholds[info.target]
    chosen = "chosen on validation" if info.operating_point else "not chosen on validation, a default"
    shown = f"; those from {doubt * threshold:.3g} on are shown as {UNIDENTIFIED}" if doubt < 1 else ""
    return (
        f"an object that the detector {info.name} calls {info.target} with a score of {threshold:.3g} or more "
        f"(threshold {chosen}){shown}"
    )


def _thresholds(fit: SlideFit, first: FirstPass, info: ModelInfo, settings: DetectSettings) -> JsonDict:
    levels = first.levels
    return {
        "score": {name: float(info.thresholds[name]) for name in info.classes},
        "doubt": settings.doubt,
        "max_cell_px": fit.max_cell_px,
        "window_wh": list(fit.window_wh),
        "overlap_px": fit.overlap_px,
        "seen_um_per_px": fit.target_um_per_px or fit.um_per_px,
        "white_level": levels["white_level"],
        "white_level_source": levels["white_level_source"],
        "noise": levels["noise"],
        "least_contrast_of_foreground": LEAST_CONTRAST if settings.skip_background else None,
        "max_per_img": info.max_per_img,
        "windows": fit.grid.n_windows,
        "windows_taken_for_empty": int(_empty_windows(fit, first).sum()),
    }


def _empty_windows(fit: SlideFit, first: FirstPass) -> np.ndarray:
    """Which windows the first pass took for empty, bool (N,)."""
    return unpack_windows(first.levels["empty_windows"], fit.grid.n_windows)


def _limit_notes(n_full: int, info: ModelInfo) -> tuple[str, ...]:
    """What to say where the model's own limit may have cut off cells."""
    if not n_full:
        return ()
    windows = "1 window" if n_full == 1 else f"{n_full} windows"
    return (
        f"in {windows} the model found {info.max_per_img} objects, the most that it gives (max_per_img): further cells "
        f"there are not counted; give --cfg-options model.test_cfg.max_per_img={10 * info.max_per_img} (of a two-stage "
        "model model.test_cfg.rcnn.max_per_img; of an exported model to tools/export.py)",
    )


def _dropped_windows(cores_xyxy: Sequence[Sequence[int]], pixels: WorkPixels) -> tuple[Drop, ...]:
    """The record of windows that show damage, by their cores."""
    if not cores_xyxy:
        return ()
    regions = tuple(map(pixels.region, cores_xyxy[:MOST_REGIONS]))
    return (Drop("window", DAMAGED_WINDOW, len(cores_xyxy), pixels.area_px(covered_px(cores_xyxy)), regions),)
