import json

import numpy as np
import pytest

from ctc_mm.counting.cell_finder import CellFinder, FoundCell
from ctc_mm.imaging.field import field_from_arrays
from ctc_mm.phantoms import BrightfieldPhantomConfig, generate_field

FINDER = CellFinder(True, 1.0, (6.0, 20.0), 24)


@pytest.mark.parametrize("um_per_px", [0.1, 0.25, 0.6, 1.0])
@pytest.mark.parametrize("bright_field", [True, False])
@pytest.mark.parametrize("crop_px", [10, 200])
def test_windows_overlap_by_more_than_a_cell_and_lie_on_the_grid(um_per_px, bright_field, crop_px):
    finder = CellFinder(bright_field, um_per_px, (6.0, 30.0), crop_px)
    grid = finder.grid((20_000, 20_000))
    assert grid.overlap_px > 30 / um_per_px
    assert finder.halo_px >= max(crop_px, 30 / um_per_px)
    assert all(side % 256 == 0 for side in grid.stride_wh)
    assert all(start % 64 == 0 for start in grid.windows_xyxy()[:, :2].ravel())
    assert grid.window_wh[0] < 2.5 * grid.stride_wh[0]  # no pixel is looked at much more often than it has to be


@pytest.mark.parametrize("size_wh", [(1, 1), (200, 1), (300, 300), (700, 5000), (20_000, 20_000)])
def test_samples_lie_inside_apart_and_aligned(size_wh):
    samples = FINDER._samples(size_wh)
    assert 1 <= len(samples) <= 9
    covered = np.zeros((-(-size_wh[1] // 64), -(-size_wh[0] // 64)), int)
    for x0, y0, x1, y1 in samples:
        assert 0 <= x0 < x1 <= size_wh[0]
        assert 0 <= y0 < y1 <= size_wh[1]
        assert (x0 % 64, y0 % 64) == (0, 0)
        covered[y0 // 64 : -(-y1 // 64), x0 // 64 : -(-x1 // 64)] += 1
    assert covered.max() == 1


def test_cells_of_the_core_and_a_little_around_it_are_given_once_as_rows():
    config = BrightfieldPhantomConfig(image_wh=(800, 600), um_per_px=1.0, ctc_count=(9, 9), wbc_count=(90, 90))
    image = generate_field(config, np.random.default_rng(0), blank=False).image
    with field_from_arrays({"bf": image}) as field:
        levels = json.loads(json.dumps(FINDER.measure_levels(field, ("bf",), 1)))
    grid = FINDER.grid((800, 600))
    assert grid.n_windows == 2
    found, labels = FINDER.cells_of_window(image[:, :640], levels, grid, 0)
    assert labels.shape == (600, 640)
    right = grid.cores_xyxy()[0, 2]
    middles = np.array([(one.cell.box_xyxy[0] + one.cell.box_xyxy[2]) / 2 for one in found])
    assert middles.max() <= right + grid.overlap_px / 4
    assert (middles > right).any()
    assert len(found) > 40
    for one in found:
        (outline, *_) = one.outlines_xy
        x, y = np.array(outline).T
        assert np.abs(np.array([x.min(), y.min(), x.max(), y.max()]) - one.cell.box_xyxy).max() <= 0.75
    assert [FoundCell.from_row(row) for row in json.loads(json.dumps([one.to_row() for one in found]))] == found


def test_a_slide_without_cells_in_its_samples_is_looked_at_all_the_same():
    empty = np.full((300, 300), 128, np.uint8)
    with field_from_arrays({"bf": empty}) as field:
        levels = FINDER.measure_levels(field, ("bf",), 2)
    assert levels["focus"] is None
    found, labels = FINDER.cells_of_window(empty, levels, FINDER.grid((300, 300)), 0)
    assert (found, labels.max()) == ([], 0)
