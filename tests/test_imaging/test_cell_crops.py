"""Crops of single cells: place, size, edges, pixel type."""

import numpy as np
import pytest

from ctc_mm.imaging.cell_crops import crop_cell, crop_size_px, cut_window, normalize_crop

IMAGE = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30)


@pytest.mark.parametrize(
    ("centre_yx", "size", "window"),
    [
        ((10, 15), 3, (14, 9, 17, 12)),
        ((9.5, 14.5), 4, (13, 8, 17, 12)),
        ((10.2, 15.2), 5, (13, 8, 18, 13)),
        ((10, 15), 1, (15, 10, 16, 11)),
        ((0, 0), 5, (-2, -2, 3, 3)),
        ((19, 29), 4, (28, 18, 32, 22)),
    ],
)
def test_the_cell_is_in_the_middle(centre_yx, size, window):
    crop = crop_cell(IMAGE, centre_yx, size)
    assert crop.window_xyxy == window
    assert crop.pixels.shape == (size, size)
    assert crop.pixels.dtype == IMAGE.dtype
    x0, y0, _, _ = window
    for y in range(size):
        for x in range(size):
            assert crop.pixels[y, x] == IMAGE[np.clip(y0 + y, 0, 19), np.clip(x0 + x, 0, 29)]


def test_what_lies_outside_is_counted():
    assert crop_cell(IMAGE, (10, 15), 5).padded_px == 0
    assert crop_cell(IMAGE, (0, 0), 5).padded_px == 4
    assert crop_cell(IMAGE, (10, 15), 40).padded_px == 10 + 10 + 5 + 5


def test_a_crop_is_a_copy_and_keeps_colours():
    image = np.zeros((9, 9, 3), np.uint8)
    crop = crop_cell(image, (4, 4), 5)
    assert crop.pixels.shape == (5, 5, 3)
    crop.pixels[:] = 9
    assert not image.any()
    assert cut_window(image, (0, 0, 9, 9)).base is not image


@pytest.mark.parametrize(
    ("centre_yx", "size", "message"),
    [((4, 4), 0, "at least 1 px"), ((20, 4), 5, r"30 x 20 px. Received: \(20, 4\)"), ((float("nan"), 4), 5, "nan")],
)
def test_impossible_crops_are_refused(centre_yx, size, message):
    with pytest.raises(ValueError, match=message):
        crop_cell(IMAGE, centre_yx, size)


def test_sizes_in_micrometres():
    assert [crop_size_px(18, scale) for scale in (0.6, 0.5, 1, 100)] == [30, 36, 18, 1]
    with pytest.raises(ValueError, match="needs the size of a pixel"):
        crop_size_px(18, None)
    with pytest.raises(ValueError, match="above 0"):
        crop_size_px(18, 0)


def field(dtype, scale):
    """A dark cell on a slope of light."""
    y, x = np.mgrid[:60, :60]
    light = 100 + 1.2 * x
    cell = (y - 30) ** 2 + (x - 30) ** 2 <= 81
    return (np.where(cell, light * 0.7, light) * scale).astype(dtype), cell


@pytest.mark.parametrize(("dtype", "scale", "top"), [(np.uint8, 1, 255), (np.uint16, 257, 65535), (np.float32, 1, 1)])
def test_normalised_crops_have_an_even_background_at_half(dtype, scale, top):
    image, cell = field(dtype, scale)
    crop = crop_cell(image, (30, 30), 40)
    flat = normalize_crop(crop, cell.astype(np.int32))
    assert flat.dtype == dtype
    background = cut_window(~cell, crop.window_xyxy)
    values = flat[background].astype(float) / top
    assert np.median(values) == pytest.approx(0.5, abs=0.01)
    assert np.ptp(values) < 0.05
    assert flat[20, 20] / top < 0.15


def test_without_labels_the_border_is_background():
    image, _ = field(np.uint8, 1)
    flat = normalize_crop(crop_cell(image, (30, 30), 40), None)
    assert flat[0].mean() == pytest.approx(127.5, abs=3)


def test_a_crop_full_of_cell_and_a_constant_one_stay_even():
    crop = crop_cell(np.full((50, 50), 90, np.uint8), (25, 25), 20)
    for labels in (None, np.ones((50, 50), np.int32)):
        assert np.unique(normalize_crop(crop, labels)).tolist() == [128]
