import cv2
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ctc_mm.imaging import nuclei_merge
from ctc_mm.imaging.nuclei_basins import find_basins, measure_basins, steepest_ascent
from ctc_mm.imaging.nuclei_merge import Region, measure_pair, merge_basins, regions_of


def basins_of(relief, origin_xy=(0, 0)):
    """Basins as a label image."""
    pixels = np.flatnonzero(relief)
    labels = np.zeros(relief.shape, np.int32)
    labels.ravel()[pixels] = find_basins(*steepest_ascent(relief, origin_xy), pixels)
    return labels


def climb(relief):
    """The peak of every pixel by walking, where no two neighbours are equal."""
    peaks = {}
    height, width = relief.shape
    for place in zip(*np.nonzero(relief), strict=True):
        here = place
        while True:
            y, x = here
            window = [
                (j, i)
                for j in range(max(y - 1, 0), min(y + 2, height))
                for i in range(max(x - 1, 0), min(x + 2, width))
            ]
            best = max(window, key=lambda p: relief[p])
            if best == here:
                break
            here = best
        peaks[place] = here
    return peaks


def test_no_pixel_no_basin():
    relief = np.zeros((5, 6), np.uint16)
    assert basins_of(relief).max() == 0
    basins = measure_basins(np.empty(0, np.int32), np.empty(0, np.int64), relief)
    assert basins.pairs.shape == (0, 2)
    assert merge_basins(basins).tolist() == [0]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12), st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_every_pixel_belongs_to_the_peak_above_it(seed, height, width, origin_xy):
    rng = np.random.default_rng(seed)
    relief = (rng.permutation(height * width) + 1).reshape(height, width).astype(np.uint16)
    relief[rng.random(relief.shape) < 0.3] = 0
    labels = basins_of(relief, origin_xy)
    peaks = climb(relief)
    groups = {}
    for place, peak in peaks.items():
        groups.setdefault(peak, set()).add(int(labels[place]))
    assert all(len(numbers) == 1 for numbers in groups.values())
    # Numbered by the peaks' places, row by row.
    assert [groups[peak] for peak in sorted(groups)] == [{number} for number in range(1, len(groups) + 1)]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 2)))
def test_plateaus_end_in_one_peak_each_or_few(relief):
    labels = basins_of(relief)
    assert np.array_equal(labels > 0, relief > 0)
    components, count = ndimage.label(relief, np.ones((3, 3)))
    for number in range(1, labels.max() + 1):
        assert len(np.unique(components[labels == number])) == 1
    assert labels.max() >= count


def test_basins_do_not_depend_on_where_a_tile_begins():
    rng = np.random.default_rng(0)
    relief = np.zeros((90, 120), np.uint16)
    relief[5:85, 5:115] = cv2.GaussianBlur(rng.integers(1, 50, (80, 110)).astype(np.uint16), (0, 0), 2)
    whole = basins_of(relief)
    tile = basins_of(np.ascontiguousarray(relief[2:, 1:]), (1, 2))
    assert np.array_equal(tile, whole[2:, 1:])
    assert whole.max() > 20


def test_sums_of_basins_and_borders():
    heights = np.array([[10, 20, 5], [30, 40, 50], [0, 7, 9]], np.uint16)
    labels = np.array([[1, 1, 2], [1, 2, 2], [0, 3, 3]], np.int32)
    pixels = np.flatnonzero(labels)
    basins = measure_basins(labels.ravel()[pixels], pixels, heights)
    assert basins.area.tolist() == [0, 3, 3, 2]
    assert basins.height_sum.tolist() == [0, 60, 95, 16]
    assert basins.height_max.tolist() == [0, 30, 50, 9]
    assert basins.moments[1].tolist() == [1, 1, 1, 1, 0]
    assert basins.moments[3].tolist() == [3, 4, 5, 8, 6]
    assert basins.pairs.tolist() == [[1, 2], [2, 3]]
    # 1|2: (0,1)-(0,2), (1,0)-(1,1), (0,1)-(1,1); 2|3: (1,1)-(2,1), (1,2)-(2,2).
    assert basins.borders.tolist() == [[3, 5 + 30 + 20, 30], [2, 7 + 9, 9]]


def region(mask, height=100.0):
    y, x = np.nonzero(mask)
    moments = tuple(float(t.sum()) for t in (x, y, x * x, y * y, x * y))
    return Region(float(len(x)), moments, height * len(x), height)


def disc(x, radius=15, size=120):
    return cv2.circle(np.zeros((size, size), np.uint8), (x, 60), radius, 1, -1)


@pytest.mark.parametrize("axes", [(15, 15), (25, 10), (8, 6)])
@pytest.mark.parametrize("angle", [0, 30, 90])
def test_an_ellipse_fills_its_ellipse(axes, angle):
    one = cv2.ellipse(np.zeros((120, 120), np.uint8), (60, 60), axes, angle, 0, 360, 1, -1)
    assert region(one).ellipse == pytest.approx(1, abs=0.02)


def test_two_discs_do_not_fill_theirs():
    pair = region(disc(44)) + region(disc(75))
    assert pair.ellipse == pytest.approx(2 / 5**0.5, abs=0.03)


def test_measures_of_a_pair():
    first, second = region(disc(44), 100.0), region(disc(75), 80.0)
    measures = dict(zip(nuclei_merge.MEASURES, measure_pair(first, second, (10.0, 600.0, 72.0)), strict=True))
    assert measures["border_mean"] == pytest.approx(60 / 80)
    assert measures["border_max"] == pytest.approx(72 / 80)
    assert measures["difference"] == pytest.approx(0.2)
    assert measures["neck"] == pytest.approx(10 / second.area**0.5)
    assert measures["ellipse_gain"] == pytest.approx((first + second).ellipse - first.ellipse, abs=1e-3)


def cut(pieces, heights):
    """Basins from a label image, as the watershed would hand them over."""
    pixels = np.flatnonzero(pieces)
    basin = pieces.ravel()[pixels].astype(np.int32)
    return merge_basins(measure_basins(basin, pixels, heights))


def test_quarters_of_a_disc_are_one_nucleus():
    y, x = np.mgrid[:120, :120]
    pieces = np.where(disc(60, 30) > 0, 1 + (x > 58) + 2 * (y > 61), 0)
    owner = cut(pieces, np.full(pieces.shape, 1000, np.uint16))
    assert owner.tolist() == [0, 1, 1, 1, 1]


def test_discs_with_a_valley_between_them_stay_two():
    pieces = np.where(disc(44) > 0, 1, 0) + np.where(disc(75) > 0, 2, 0)
    pieces[pieces == 3] = 1
    heights = np.full(pieces.shape, 1000, np.uint16)
    heights[:, 56:64] = 700
    assert cut(pieces, heights).tolist() == [0, 1, 2]


def test_dim_nucleus_beside_a_bright_one_stays_one_of_two():
    pieces = np.where(disc(44) > 0, 1, 0) + np.where(disc(75) > 0, 2, 0)
    pieces[pieces == 3] = 1
    heights = np.where(pieces == 1, 3000, 900).astype(np.uint16)
    assert cut(pieces, heights).tolist() == [0, 1, 2]


def test_merging_does_not_depend_on_numbers():
    y, x = np.mgrid[:120, :120]
    pieces = np.where(disc(40, 22) > 0, 1 + (x > 40), 0) + np.where(disc(90, 22) > 0, 3 + (y > 60), 0)
    heights = np.full(pieces.shape, 1000, np.uint16)
    expected = cut(pieces, heights)
    assert expected.tolist() == [0, 1, 1, 3, 3]
    swapped = np.array([0, 4, 2, 1, 3])[pieces]
    assert cut(swapped, heights).tolist() == [0, 1, 2, 1, 2]


def test_every_basin_has_a_region():
    relief = cv2.GaussianBlur(np.random.default_rng(1).integers(1, 99, (40, 40)).astype(np.uint16), (0, 0), 1.5)
    pixels = np.arange(relief.size)
    basin = find_basins(*steepest_ascent(relief), pixels)
    regions = regions_of(measure_basins(basin, pixels, relief))
    assert regions[0] is None
    assert sum(one.area for one in regions[1:]) == relief.size
