"""Windows tile a slide by their cores, whatever its size; tiles only group them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctc_mm.counting.windows import (
    TileGrid,
    WindowGrid,
    check_overlap,
    cut_window,
    pack_windows,
    region_of,
    touching,
    unpack_windows,
)


def grids():
    sides = st.integers(1, 300)
    windows = st.integers(8, 80)
    return st.builds(
        lambda width, height, wide, high, share: WindowGrid(
            (width, height), (wide, high), int(share * 0.75 * min(wide, high))
        ),
        sides, sides, windows, windows, st.floats(0, 1),
    )  # fmt: skip


def test_slide_smaller_than_a_window_has_one():
    grid = WindowGrid((1, 5), (64, 32), 10)
    assert grid.n_windows == 1
    assert grid.windows_xyxy().tolist() == [[0, 0, 64, 32]]
    assert grid.cores_xyxy().tolist() == [[0, 0, 1, 5]]


def test_windows_and_cores_of_a_row():
    grid = WindowGrid((250, 40), (100, 100), 20)
    assert grid.n_wh == (3, 1)
    assert grid.windows_xyxy()[:, [0, 2]].tolist() == [[0, 100], [80, 180], [160, 260]]
    assert grid.cores_xyxy()[:, [0, 2]].tolist() == [[0, 90], [90, 170], [170, 250]]
    assert grid.owners_of(np.array([[89.9, 3], [90, 3], [169.9, 3], [170, 39], [260, 3]])).tolist() == [0, 1, 1, 2, 2]


def test_exact_fit_needs_no_further_window():
    assert WindowGrid((180, 100), (100, 100), 20).n_wh == (2, 1)
    assert WindowGrid((181, 101), (100, 100), 20).n_wh == (3, 2)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(grid=grids())
def test_every_pixel_lies_in_one_core_inside_its_window(grid):
    owned = np.zeros(grid.size_wh[::-1], int)
    for (x0, y0, x1, y1), window in zip(grid.cores_xyxy(), grid.windows_xyxy(), strict=True):
        assert window[0] <= x0 < x1 <= window[2]
        assert window[1] <= y0 < y1 <= window[3]
        owned[y0:y1, x0:x1] += 1
    assert (owned == 1).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(grid=grids(), seed=st.integers(0, 9))
def test_owner_sees_every_cell_smaller_than_the_overlap_whole(grid, seed):
    rng = np.random.default_rng(seed)
    sides = rng.uniform(0, grid.overlap_px, (50, 2))
    corners = rng.uniform(0, 1, (50, 2)) * np.maximum(np.array(grid.size_wh) - sides, 0)
    fits = (corners + sides <= np.array(grid.size_wh)).all(axis=1)
    corners, sides = corners[fits], sides[fits]
    centres = corners + sides / 2
    owners = grid.owners_of(centres)
    assert (grid.outside_core_px(centres, owners) == 0).all()
    windows = grid.windows_xyxy()[owners]
    # Half of an odd overlap is rounded down: a pixel of play.
    seen = (windows[:, :2] <= corners + 1).all(axis=1) & (corners + sides <= windows[:, 2:] + 1).all(axis=1)
    assert seen.all()


def test_how_far_outside_of_the_core():
    grid = WindowGrid((250, 40), (100, 100), 20)
    centres = np.array([[50, 20], [95, 20], [100, 20], [85, 20]], float)
    assert grid.outside_core_px(centres, np.array([0, 0, 0, 1])).tolist() == [0, 5, 10, 5]
    assert grid.outside_core_px(np.zeros((0, 2)), np.zeros(0, int)).tolist() == []


def test_windows_that_touch_damage():
    windows = WindowGrid((250, 40), (100, 100), 20).windows_xyxy()
    assert touching(windows, []).tolist() == [False] * 3
    assert touching(windows, [(100, 0, 101, 1)]).tolist() == [False, True, False]
    assert touching(windows, [(99, 0, 100, 1), (249, 0, 250, 9)]).tolist() == [True, True, True]
    assert touching(windows[:0], [(0, 0, 9, 9)]).tolist() == []


@settings(max_examples=40, deadline=None, derandomize=True)
@given(grid=grids(), tile_px=st.integers(1, 400))
def test_tiles_share_the_windows_out(grid, tile_px):
    tiles = TileGrid(grid, tile_px)
    windows = np.concatenate([tiles.windows_of(tile) for tile in range(tiles.n_tiles)])
    assert sorted(windows.tolist()) == list(range(grid.n_windows))


def test_tiles_of_a_slide():
    grid = WindowGrid((1000, 500), (100, 100), 20)
    assert grid.n_wh == (13, 6)
    tiles = TileGrid(grid, 400)
    assert tiles.windows_per_tile_wh == (5, 5)
    assert tiles.n_wh == (3, 2)
    assert tiles.windows_of(5).tolist() == [75, 76, 77]
    assert region_of(grid.windows_xyxy()[tiles.windows_of(5)], grid.size_wh) == (800, 400, 1000, 500)
    assert TileGrid(grid, 10**6).n_tiles == 1
    assert TileGrid(grid, 1).n_tiles == grid.n_windows
    with pytest.raises(ValueError, match="from 0 to 5. Received: 6"):
        tiles.windows_of(6)


@pytest.mark.parametrize("shape", [(40, 250), (40, 250, 3)])
def test_a_window_is_the_same_from_any_block(shape):
    slide = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint16)
    grid = WindowGrid((250, 40), (100, 100), 20)
    for window in grid.windows_xyxy():
        whole = cut_window(slide, (0, 0, 250, 40), window)
        x0, y0, x1, y1 = region_of(window[None], grid.size_wh)
        alone = cut_window(slide[y0:y1, x0:x1], (x0, y0, x1, y1), window)
        assert whole.shape == (100, 100, *shape[2:])
        assert whole.dtype == np.uint16
        assert np.array_equal(whole, alone)
        assert np.array_equal(whole[: y1 - y0, : x1 - x0], slide[y0:y1, x0:x1])
        assert np.array_equal(whole[40:80], whole[:40][::-1])


def test_a_slide_of_one_pixel_fills_its_window():
    assert (cut_window(np.full((1, 1), 7, np.uint8), (0, 0, 1, 1), (0, 0, 9, 9)) == 7).all()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (((0, 5), (9, 9), 2), "`size_wh` must be"),
        (((5, 5), (9, 0), 2), "`window_wh` must be"),
        (((5, 5), (9, 9), -1), "`overlap_px` must be from 0"),
        (((5, 5), (9, 9), 7), "Received: 7; allow smaller cells"),
    ],
)
def test_refused_grids(arguments, match):
    with pytest.raises(ValueError, match=match):
        WindowGrid(*arguments)


def test_overlap_must_exceed_the_largest_cell():
    check_overlap(50, 49.5)
    for overlap, cell in ((50, 50), (20, 60)):
        with pytest.raises(ValueError, match=rf"overlap_px is {overlap}, the largest cell {cell} px"):
            check_overlap(overlap, cell)
    with pytest.raises(ValueError, match="`tile_px` must be at least 1"):
        TileGrid(WindowGrid((5, 5), (9, 9), 2), 0)


@given(st.lists(st.booleans(), min_size=1, max_size=70))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_marked_windows_travel_as_text(marks):
    packed = pack_windows(np.array(marks))
    assert unpack_windows(packed, len(marks)).tolist() == marks


def test_marks_of_a_large_slide_are_small():
    assert len(pack_windows(np.arange(100_000) % 2 == 0)) < 17_000
