"""Grey values against the printed equations, at every depth."""

import numpy as np
import pytest

from ctc_mm.imaging.normalize import gamma_transform, guess_white_level, scale_to_255, stretch_histogram

DTYPES = ["uint8", "uint16", "float32"]


def ramp(dtype):
    top = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    return np.linspace(0, top, 48).astype(dtype).reshape(6, 8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_images_stay_empty(dtype):
    empty = np.zeros((0, 5, 3), dtype)
    assert gamma_transform(empty, 1.5).shape == (0, 5, 3)
    assert gamma_transform(empty, 1.5).dtype == dtype
    assert stretch_histogram(empty).shape == (0, 5, 3)
    assert stretch_histogram(empty).dtype == np.float32
    assert scale_to_255(empty, 1).shape == (0, 5, 3)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.5, 2.2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gamma_is_equation_1_on_the_unit_interval(dtype, gamma):
    image = ramp(dtype)
    top = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    result = gamma_transform(image, gamma)
    assert result.dtype == image.dtype
    expected = (image / top) ** gamma * top
    np.testing.assert_allclose(result, expected, atol=1e-6 if dtype == "float32" else 0.5)
    if gamma == 1:
        np.testing.assert_array_equal(result, image)
    assert (result.min(), result.max()) == (0, top), "black and white stay"


def test_gamma_over_1_darkens_and_leaves_its_input():
    image = ramp("uint8")
    before = image.copy()
    assert gamma_transform(image, 1.5).mean() < image.mean() < gamma_transform(image, 0.7).mean()
    np.testing.assert_array_equal(image, before)


def test_gamma_white_level_of_12_bit_data():
    image = np.array([0, 1024, 4095, 5000], np.uint16)
    result = gamma_transform(image, 2.0, white_level=4095)
    np.testing.assert_array_equal(result, [0, 256, 4095, 4095])
    floats = gamma_transform(np.float32([0, 127.5, 255]), 2.0, white_level=255)
    np.testing.assert_allclose(floats, [0, 63.75, 255])


@pytest.mark.parametrize("gamma", [0, -1, float("nan"), float("inf")])
def test_gamma_must_be_positive(gamma):
    with pytest.raises(ValueError, match="gamma must be a number above 0"):
        gamma_transform(ramp("uint8"), gamma)


def test_gamma_refuses_negative_float_and_unknown_scale():
    with pytest.raises(ValueError, match="darkest is"):
        gamma_transform(np.float32([-0.1, 0.5]), 1.5)
    with pytest.raises(ValueError, match="float pixels reach 200; give white_level"):
        gamma_transform(np.float32([0, 200]), 1.5)


@pytest.mark.parametrize("dtype", [*DTYPES, "int16", "float64"])
@pytest.mark.parametrize("out_range", [(0, 255), (0, 1), (-1, 1), (10, 4095)])
def test_stretch_is_equation_2_between_the_bounds(dtype, out_range):
    image = np.array([[30, 60, 90], [40, 50, 110]]).astype(dtype)
    low, high = out_range
    result = stretch_histogram(image, out_range)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, (image.astype(float) - 30) / 80 * (high - low) + low, rtol=1e-6, atol=1e-6)
    assert (result.min(), result.max()) == (low, high)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("out_range", [(0, 255), (-3, 8)])
def test_constant_image_becomes_the_lower_bound(dtype, out_range):
    result = stretch_histogram(np.full((3, 3), 7, dtype), out_range)
    np.testing.assert_array_equal(result, np.full((3, 3), out_range[0], np.float32))


def test_stretch_keeps_16_bit_levels_hues_and_its_input():
    image = np.arange(1000, 5096, dtype=np.uint16).reshape(64, 64)
    before = image.copy()
    assert len(np.unique(stretch_histogram(image))) == 4096
    np.testing.assert_array_equal(image, before)
    colour = np.zeros((2, 2, 3), np.uint8)
    colour[..., 0], colour[..., 1] = 200, 50
    colour[0, 0] = 0
    np.testing.assert_allclose(stretch_histogram(colour)[1, 1], [255, 63.75, 0], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_everywhere(bad):
    image = np.float32([[0.5, bad]])
    for call in (
        lambda: gamma_transform(image, 1.5),
        lambda: stretch_histogram(image),
        lambda: scale_to_255(image, 1.0),
        lambda: guess_white_level(image),
    ):
        with pytest.raises(ValueError, match="holds 1 NaN or infinite"):
            call()


@pytest.mark.parametrize("out_range", [(5, 5), (9, 1), (0, float("inf")), (1, 2, 3)])
def test_out_range_must_rise(out_range):
    with pytest.raises(ValueError, match="out_range must be two finite numbers"):
        stretch_histogram(ramp("uint8"), out_range)


@pytest.mark.parametrize("image", [np.zeros((2, 2), bool), np.zeros((2, 2), complex)])
def test_other_pixel_types_are_refused(image):
    with pytest.raises(TypeError, match="integers or floats"):
        gamma_transform(image, 1.5)
    with pytest.raises(TypeError, match="integers or floats"):
        stretch_histogram(image)


@pytest.mark.parametrize(
    ("image", "white"),
    [
        (np.zeros((0,), np.uint16), 1023),
        (np.uint8([3]), 255),
        (np.uint16([1023]), 1023),
        (np.uint16([1024]), 4095),
        (np.uint16([16000]), 16383),
        (np.uint16([16384]), 65535),
        (np.float32([1.0]), 1.0),
    ],
)
def test_white_level_guess(image, white):
    assert guess_white_level(image) == white


def test_white_level_guess_refuses_what_it_cannot_know():
    with pytest.raises(ValueError, match="float pixels reach 40; give white_level"):
        guess_white_level(np.float32([40]))
    with pytest.raises(TypeError, match="int32"):
        guess_white_level(np.int32([40]))


def test_scale_to_255_keeps_levels_saturates_and_copies():
    image = np.uint16([0, 2000, 4000, 9000])
    np.testing.assert_allclose(scale_to_255(image, 4000), [0, 127.5, 255, 255])
    np.testing.assert_array_equal(scale_to_255(np.float32([-2, 0.5]), 1.0), [0, 127.5])
    same = np.float32([1, 2])
    scale_to_255(same, 255)[:] = 0
    np.testing.assert_array_equal(same, [1, 2])
    with pytest.raises(ValueError, match="at most 255"):
        scale_to_255(np.uint8([1]), 4095)
