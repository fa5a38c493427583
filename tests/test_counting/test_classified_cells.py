import numpy as np
import pytest

from ctc_mm.counting.cell_finder import FoundCell
from ctc_mm.counting.classified_cells import SlideCells, finish_cells
from ctc_mm.counting.classify_settings import ClassifySettings
from ctc_mm.counting.engines.base import CLASSIFIER, ModelInfo
from ctc_mm.counting.foreground import LEAST_CONTRAST
from ctc_mm.counting.records import AnalysedArea
from ctc_mm.counting.windows import WindowGrid, pack_windows
from ctc_mm.imaging.cell_measure import CellMeasurement

# Windows of 200 px every 150; the left one owns what lies left of 175.
GRID = WindowGrid((300, 200), (200, 200), 50)
INFO = ModelInfo(CLASSIFIER, "cells", ("WBC", "CTC"), "CTC", {"youden": 0.5})
LEVELS = {
    "losses": {"damaged_xyxy": [], "gaps_xyxy": [], "drops": [], "fill_value": 0},
    "empty_windows": pack_windows(np.array([False, False])),
    "focus": None,
    "cells": {"size_wh": [300, 200], "white": None, "noise": [[2.0, 3.0], [5.0, 9.0]]},
    "noise": [1.5],
}
RIGHT_IS_EMPTY = pack_windows(np.array([False, True]))


def found(window, *box, sharpness=1.0):
    x0, y0, x1, y1 = box
    cell = CellMeasurement(
        label=1, box_xyxy=box, centroid_yx=((y0 + y1) / 2, (x0 + x1) / 2), area_px=(x1 - x0) * (y1 - y0),
        diameter_px=x1 - x0, diameter_um=(x1 - x0) * 0.5, circularity=1.0, solidity=1.0, contact=0.0,
        sharpness=sharpness, touches_border=False,
    )  # fmt: skip
    return FoundCell(window, cell, (((x0, y0), (x1, y0), (x1, y1)),))


def finish(cells, scores=None, levels=None, size_wh=(300, 200), **settings):
    slide = SlideCells(size_wh, (300, 200), 0.5, GRID, margin_px=5)
    scores = scores or [[0.2, 0.8]] * len(cells)
    payload = {"cells": [one.to_row() for one in cells], "scores": scores}
    given = ClassifySettings(crop_px=10, **settings)
    return finish_cells(slide, LEVELS | (levels or {}), [payload], INFO, given, 0.5)


def boxes(done):
    return [cell.box_xyxy for cell in done.cells]


def test_nothing_gives_nothing():
    done = finish([])
    assert (done.cells, done.drops, done.area) == ((), (), AnalysedArea(60_000))
    assert done.classes == ("CTC", "WBC", "unidentified")
    assert done.removals == {"too_large": 0, "seam_duplicate": 0, "other_window": 0}


@pytest.mark.parametrize("turned", [False, True])
def test_a_cell_that_two_windows_see_alike_is_its_owners(turned):
    cells = [found(0, 160, 40, 180, 60), found(1, 160, 40, 180, 60)]
    done = finish(cells[::-1] if turned else cells)
    assert boxes(done) == [(160, 40, 180, 60)]
    assert done.cells[0].columns["window"] == 0
    assert done.removals == {"too_large": 0, "seam_duplicate": 0, "other_window": 1}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("left", "right", "kept", "reason"),
    [
        # Both own it.
        ((163, 40, 183, 60), (168, 40, 188, 60), (163, 40, 183, 60), "seam_duplicate"),
        # Each takes it for the other's.
        ((168, 40, 188, 60), (163, 40, 183, 60), (168, 40, 188, 60), "seam_duplicate"),
        # One owns it, the other outlines a part of it.
        ((155, 40, 185, 60), (160, 42, 182, 58), (155, 40, 185, 60), "other_window"),
    ],
)
def test_windows_that_differ_about_a_cell_count_it_once(left, right, kept, reason, turned):
    cells = [found(0, *left), found(1, *right)]
    done = finish(cells[::-1] if turned else cells)
    assert boxes(done) == [kept]
    assert done.removals == {"too_large": 0, "seam_duplicate": 0, "other_window": 0} | {reason: 1}


def test_what_no_window_can_see_whole_is_removed_and_counted():
    done = finish([found(0, 20, 20, 70, 40), found(0, 100, 100, 120, 120)])
    assert boxes(done) == [(100, 100, 120, 120)]
    assert done.removals["too_large"] == 1


def test_cells_are_judged_among_all_of_the_slide():
    cells = [found(0, 20 * k, 10, 20 * k + 18, 28) for k in range(1, 6)]
    blurred = found(1, 250, 100, 268, 118, sharpness=0.5)
    small = found(1, 250, 140, 258, 148)
    done = finish([*cells, blurred, small], scores=[[0.9, 0.1]] * 3 + [[0.2, 0.8]] * 4)
    assert [cell.class_name for cell in done.cells] == ["WBC"] * 3 + ["CTC"] * 2 + ["unidentified"] * 2
    assert [cell.flags for cell in done.cells][-2:] == [("out_of_focus",), ("small",)]
    assert [cell.score for cell in done.cells][-1] == 0.8


def test_a_resampled_slide_is_described_in_its_own_pixels():
    levels = {
        "losses": {
            "damaged_xyxy": [[0, 0, 100, 100]], "gaps_xyxy": [], "fill_value": 0,
            "drops": [
                {"kind": "block", "reason": "spoilt", "count": 1, "area_px": 10_000, "regions_xyxy": [[0, 0, 100, 100]]}
            ],
        },
        "empty_windows": RIGHT_IS_EMPTY,
    }  # fmt: skip
    cells = [found(0, 90, 104, 110, 120), found(0, 120, 120, 140, 142)]
    done = finish(cells, levels=levels, size_wh=(600, 400))
    (cell,) = done.cells
    assert cell.box_xyxy == (240, 240, 280, 284)
    assert cell.diameter_um == 10.0
    assert (cell.columns["centroid_x"], cell.columns["centroid_y"]) == (260.5, 262.5)
    assert cell.outlines_xy == (((240, 240), (280, 240), (280, 284)),)
    # The right window's core begins at 175.
    assert done.area == AnalysedArea(4 * (175 * 200 - 10_000), background_px=4 * 125 * 200, dropped_px=40_000)
    block, touching = done.drops
    assert (block.area_px, block.regions_xyxy) == (40_000, ((0, 0, 200, 200),))
    assert (touching.kind, touching.count) == ("cell", 1)


def test_losses_in_empty_windows_are_lost_all_the_same():
    losses = LEVELS["losses"] | {"damaged_xyxy": [[150, 0, 200, 200]]}
    done = finish([], levels={"losses": losses, "empty_windows": RIGHT_IS_EMPTY})
    assert done.area == AnalysedArea(150 * 200, background_px=100 * 200, dropped_px=50 * 200)


def test_the_card_holds_the_thresholds_that_hang_on_the_slide():
    told = finish([], levels={"empty_windows": RIGHT_IS_EMPTY}).thresholds
    assert told["levels"]["cells"]["noise"] == {"min": 2.0, "median": 4.0, "max": 9.0}
    assert (told["noise"], told["windows"], told["windows_taken_for_empty"]) == ([1.5], 2, 1)
    assert told["least_contrast_of_foreground"] == LEAST_CONTRAST
    # Other levels of the same range are other levels.
    noise = {"cells": LEVELS["cells"] | {"noise": [[2.0, 5.0], [3.0, 9.0]]}}
    other = finish([], levels=noise, skip_background=False).thresholds
    assert other["levels"] == told["levels"]
    assert len(other["levels_sha256"]) == 64
    assert other["levels_sha256"] != told["levels_sha256"]
    assert other["least_contrast_of_foreground"] is None
