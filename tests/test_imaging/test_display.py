import numpy as np
import pytest

from ctc_mm.imaging.display import DisplayRange, as_rgb, composite, measure_field_range, stretch_for_display
from ctc_mm.imaging.io import field_from_arrays


def ramp(dtype):
    return np.arange(200, dtype=dtype).reshape(10, 20)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_range_is_black_to_white(dtype):
    shown = stretch_for_display(ramp(dtype), DisplayRange(50, 150))
    assert shown.dtype == np.uint8
    assert shown.ravel()[[0, 50, 100, 150, 199]].tolist() == [0, 0, 128, 255, 255]


def test_range_without_width_is_black_up_to_it():
    shown = stretch_for_display(np.array([[6, 7, 8]], np.uint16), DisplayRange(7, 7))
    assert shown.tolist() == [[0, 0, 255]]


def test_input_is_not_changed():
    image = ramp(np.uint16)
    stretch_for_display(image, DisplayRange(10, 20))
    assert (image == ramp(np.uint16)).all()


def test_percentiles_are_those_of_the_whole_field():
    values = np.random.default_rng(0).permutation(10_000).reshape(100, 100).astype(np.uint16)
    shown = measure_field_range(field_from_arrays({"dapi": values}), "dapi", (1.0, 99.0))
    assert (round(shown.low), round(shown.high)) == (100, 9899)


def test_percentiles_read_in_strips_are_the_same(monkeypatch):
    values = np.random.default_rng(0).integers(0, 4000, (300, 70), dtype=np.uint16)
    field = field_from_arrays({"dapi": values})
    whole = measure_field_range(field, "dapi")
    monkeypatch.setattr("ctc_mm.imaging.display._STRIP_PX", 70 * 13)
    assert measure_field_range(field, "dapi") == whole
    monkeypatch.setattr("ctc_mm.imaging.display._SAMPLED_PX", 300 * 70 // 9)
    low, high = np.percentile(values[::3, ::3], (0.5, 99.8))
    assert measure_field_range(field, "dapi") == DisplayRange(low, high)


def test_constant_field_has_a_range_of_one_value():
    field = field_from_arrays({"dapi": np.full((4, 5), 9, np.uint8)})
    assert measure_field_range(field, "dapi") == DisplayRange(9, 9)


def test_channels_add_up_and_stop_at_white():
    blue, orange = np.array([[255, 0, 255]], np.uint8), np.array([[0, 255, 255]], np.uint8)
    both = composite([blue, orange], [(0, 40, 255), (255, 150, 20)])
    assert both.tolist() == [[[0, 40, 255], [255, 150, 20], [255, 190, 255]]]


def test_grey_becomes_three_equal_bands():
    grey = np.array([[0, 7, 255]], np.uint8)
    assert (as_rgb(grey) == grey[..., None]).all()
    colour = as_rgb(grey)
    copy = as_rgb(colour)
    copy[...] = 1
    assert colour.max() == 255
