"""Cells measured tile by tile are those of the field; what is sharp is decided among all of them."""

import json

import cv2
import numpy as np
import pytest

from ctc_mm.imaging.cell_focus import FocusScale, measure_focus_scale
from ctc_mm.imaging.cell_measure import BORDER, OUT_OF_FOCUS, judge_cells, measure_cells, measure_tile_cells


def field(blurred=(), shape=(256, 512), radius=9, step=64):
    """Grainy discs on a grid, numbered row by row; those in ``blurred`` are out of focus."""
    labels = np.zeros(shape, np.int32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    centres = [(cy, cx) for cy in range(32, shape[0], step) for cx in range(32, shape[1], step)]
    for number, (cy, cx) in enumerate(centres, start=1):
        labels[np.hypot(y - cy, x - cx) <= radius] = number
    rng = np.random.default_rng(0)
    image = 150 + rng.normal(0, 1, shape)
    image[labels > 0] += rng.normal(0, 40, int((labels > 0).sum()))
    soft, sharp = cv2.GaussianBlur(image, (0, 0), 4), cv2.GaussianBlur(image, (0, 0), 0.8)
    return labels, np.where(np.isin(labels, blurred), soft, sharp).astype(np.float32)


def test_a_field_without_cells_has_no_scale():
    assert measure_focus_scale([(np.zeros((20, 30), np.int32), np.zeros((20, 30), np.uint8))]) is None
    assert measure_tile_cells(np.zeros((20, 30), np.int32), np.zeros((20, 30), np.uint8), FocusScale(9, (0, 0))) == []
    assert judge_cells([]) == []


def test_the_scale_is_the_usual_cell_and_the_edges_of_the_background():
    labels, image = field()
    scale = measure_focus_scale([(labels, image)])
    area = np.bincount(labels.ravel())[1]
    assert scale.usual_px == pytest.approx(2 * np.sqrt(area / np.pi))
    flat = np.where(labels > 0, image, 150).astype(np.float32)
    assert measure_focus_scale([(labels, flat)]).noise[0] < scale.noise[0]
    assert FocusScale.from_dict(json.loads(json.dumps(scale.to_dict()))) == scale


def test_parts_that_lack_cells_do_not_spoil_the_scale():
    labels, image = field()
    alone = measure_focus_scale([(labels, image)])
    empty = (np.zeros_like(labels), np.full_like(image, 150))
    assert measure_focus_scale([(labels, image), empty]).usual_px == alone.usual_px


def test_tiles_give_the_cells_of_the_field():
    labels, image = field(blurred=(5, 13, 20))
    scale = measure_focus_scale([(labels, image)])
    found = []
    for x0, x1, core in ((0, 320, (0, 256)), (192, 512, (256, 512))):
        tile = measure_tile_cells(labels[:, x0:x1], image[:, x0:x1], scale, 0.5, (x0, 0), (512, 256))
        found += [cell for cell in tile if core[0] <= cell.centroid_yx[1] < core[1]]
    found.sort(key=lambda cell: cell.label)
    assert judge_cells(found) == measure_cells(labels, image, 0.5)
    flagged = {cell.label for cell in judge_cells(found) if OUT_OF_FOCUS in cell.reasons}
    assert flagged >= {5, 13, 20}
    assert len(flagged) <= 5  # the grain of one or two is coarse by chance


@pytest.mark.parametrize("rows", [True, False])
def test_the_edge_of_a_tile_is_no_edge_of_the_field(rows):
    labels = np.zeros((60, 60), np.int32)
    labels[(slice(0, 12), slice(20, 32)) if rows else (slice(20, 32), slice(48, 60))] = 1
    image, scale = np.full((60, 60), 100, np.uint8), FocusScale(12.0, (0.0, 0.0))
    (inside,) = judge_cells(measure_tile_cells(labels, image, scale, None, (64, 64), (200, 200)))
    origin = (64, 0) if rows else (140, 64)
    (on_edge,) = judge_cells(measure_tile_cells(labels, image, scale, None, origin, (200, 200)))
    assert (inside.touches_border, on_edge.touches_border) == (False, True)
    assert BORDER in on_edge.reasons
    assert BORDER not in inside.reasons
    assert on_edge.box_xyxy[:2] == (origin[0] + (20 if rows else 48), origin[1] + (0 if rows else 20))
