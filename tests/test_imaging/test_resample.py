"""A field at another pixel size: what is where, nothing aliased, the same in any region."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.io import field_from_arrays, open_field, write_image
from ctc_mm.imaging.resample import resampled_field

RNG = np.random.default_rng(3)
NOISE = RNG.integers(0, 65535, (97, 141), dtype=np.uint16)


def resampled(image, um_from, um_to):
    return resampled_field(field_from_arrays({"a": image}, um_per_px=um_from), um_to)


def blob(height, width, centre_xy, sigma):
    y, x = np.mgrid[:height, :width] + 0.5
    return np.exp(-((x - centre_xy[0]) ** 2 + (y - centre_xy[1]) ** 2) / (2 * sigma**2)).astype(np.float32)


def centre_xy(image):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(x * image).sum(), (y * image).sum()]) / image.sum()


def test_an_unknown_pixel_size_is_refused():
    field = field_from_arrays({"a": NOISE})
    with pytest.raises(ValueError, match="'array' of None um per px cannot be resampled to 0.5: both must be known"):
        resampled_field(field, 0.5)
    with pytest.raises(ValueError, match="`um_per_px` must be a positive number. Received: 0"):
        resampled(NOISE, 0.5, 0)


def test_the_same_pixel_size_is_the_same_field():
    field = field_from_arrays({"a": NOISE}, um_per_px=0.5)
    assert resampled_field(field, 0.5) is field


@pytest.mark.parametrize("um_to", [0.1, 0.45, 0.55, 1.0, 1.7, 900.0])
@pytest.mark.parametrize("value", [np.uint8(200), np.uint16(65535), np.float32(0.1)])
def test_a_constant_field_stays_constant(um_to, value):
    image = np.full((13, 22), value)
    with resampled(image, 0.5, um_to) as field:
        pixels = field.read()[0]
    assert field.size_wh == (max(1, round(22 * 0.5 / um_to)), max(1, round(13 * 0.5 / um_to)))
    assert (field.dtype, field.um_per_px, pixels.shape) == (image.dtype, um_to, field.size_wh[::-1])
    np.testing.assert_array_equal(pixels, value)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (40, 1)])
@pytest.mark.parametrize("um_to", [0.2, 1.5])
def test_a_field_of_one_row_or_column(shape, um_to):
    image = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape)
    with resampled(image, 0.5, um_to) as field:
        pixels = field.read()[0]
    assert pixels.shape == tuple(max(1, round(side * 0.5 / um_to)) for side in shape)
    assert pixels.max() <= image.max()


@pytest.mark.parametrize(("um_from", "um_to"), [(0.5, 0.8), (0.5, 0.31), (0.25, 1.0)])
def test_things_stay_where_they_are(um_from, um_to):
    image = blob(120, 160, (71.3, 52.8), 9)
    with resampled(image, um_from, um_to) as field:
        found = field.read()[0]
    np.testing.assert_allclose(centre_xy(found), np.array([71.3, 52.8]) * um_from / um_to, atol=0.02)
    assert found.sum() * um_to**2 == pytest.approx(image.sum() * um_from**2, rel=1e-3)


def test_smooth_pictures_keep_their_shape_when_enlarged():
    with resampled(blob(60, 60, (30, 30), 6), 1.0, 0.5) as field:
        found = field.read()[0]
    np.testing.assert_allclose(found, blob(120, 120, (60, 60), 12), atol=2e-3)


def test_nothing_finer_than_the_new_pixels_is_left():
    checks = (np.indices((128, 128)).sum(axis=0) % 2 * 200).astype(np.uint8)
    with resampled(checks, 0.25, 0.6) as field:
        inner = field.read()[0][3:-3, 3:-3]
    assert inner.min() >= 97
    assert inner.max() <= 103
    naive = checks[::2, ::2]
    assert set(np.unique(naive)) == {0}  # what leaving out every other pixel would have made of it


def test_integers_are_held_in_their_range():
    edge = np.zeros((20, 20), np.uint8)
    edge[:, 10:] = 255
    with resampled(edge, 1.0, 0.3) as field:
        row = field.read()[0, 30]
    assert row[:30].max() < 30  # an overshoot below 0 would have come back as 250
    assert row[-25:].min() > 225


def test_eight_bits_and_sixteen_give_the_same_picture():
    image = (NOISE >> 8).astype(np.uint8)
    with resampled(image, 0.4, 0.7) as narrow, resampled(image * np.uint16(257), 0.4, 0.7) as wide:
        difference = wide.read().astype(int) - narrow.read().astype(int) * 257
    assert np.abs(difference).max() <= 129  # half a grey level of 8 bits


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.floats(0.3, 4), st.data())
def test_a_pixel_does_not_depend_on_the_region(step, data):
    with resampled(NOISE, 0.5, 0.5 * step) as field:
        whole = field.read()[0]
        width, height = field.size_wh
        x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
        np.testing.assert_array_equal(field.read(None, (x0, y0, x1, y1))[0], whole[y0:y1, x0:x1])


def test_float_pixels_do_not_depend_on_the_region_either():
    image = RNG.normal(size=(64, 80)).astype(np.float32)
    with resampled(image, 0.5, 0.77) as field:
        whole = field.read()[0]
        np.testing.assert_array_equal(field.read(None, (7, 5, 41, 30))[0], whole[5:30, 7:41])


def test_large_regions_are_summed_alike():
    image = RNG.integers(0, 255, (1500, 120), dtype=np.uint8)
    with resampled(image.astype(np.float32), 0.5, 1.3) as field:
        whole = field.read()[0]
        for top, bottom in ((0, 10), (190, 200), (195, 402), (390, len(whole))):
            np.testing.assert_array_equal(field.read(None, (3, top, 40, bottom))[0], whole[top:bottom, 3:40])


def test_memory_does_not_grow_with_the_square_of_the_step():
    side = 3000
    field = field_from_arrays({"a": np.zeros((side, side), np.uint8)}, um_per_px=0.25)
    tracemalloc.start()
    with resampled_field(field, 1.0) as shrunk:
        shrunk.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Under three bytes a pixel of the old field, where float64 of all of them would be eight.
    assert peak < 3 * side**2


def test_channels_by_name_files_and_what_is_wrong(tmp_path):
    planes = {"dapi": np.full((30, 40), 7, np.uint8), "cep8": np.full((30, 40), 9, np.uint8)}
    with resampled_field(field_from_arrays(planes, um_per_px=1.0), 2.0) as field:
        assert field.channels == ("dapi", "cep8")
        assert field.read(["cep8"]).tolist() == np.full((1, 15, 20), 9).tolist()
        with pytest.raises(ValueError, match="has no channel"):
            field.read(["cd45"])
    write_image(tmp_path / "a.tif", np.array([[1, np.nan], [2, 3]], np.float32))
    with resampled_field(open_field(tmp_path / "a.tif", um_per_px=1.0), 2.0) as field:
        assert field.paths == (tmp_path / "a.tif",)
        assert field.notes == ("resampled from 1 to 2 um per px",)
        with pytest.raises(ImageReadError, match=r"a.tif: channel '0' holds pixels that are not finite: 1 NaN"):
            field.read()
    with pytest.raises(ValueError, match="is closed"):
        field.read()
